"""Labels from rasters: class ids, colours or values, on any grid."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from quadrat.errors import LabelError
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window, strips
from quadrat.labels.class_mapping import ClassMapping, class_id, unclaimed
from quadrat.labels.measured import MeasuredPixels
from quadrat.runtime.formats.section import Name, Section

if TYPE_CHECKING:
    from quadrat.labels.raster_values import Format, Pixels

STRIP_ROWS = 256
"""Rows per read when a whole scene is counted."""

BYTES = 256
"""Number of values of a byte."""

UNCLAIMED = 254
"""Marks, among class ids, a byte that no class lists."""

Values = Literal["ids", "colors", "numbers"]

NUMBERS = "numbers"
"""The value of ``values`` for rasters without classes."""

WRITTEN = {"ids": re.compile(r"0|-?[1-9][0-9]*"), "colors": re.compile("#[0-9a-fA-F]{6}")}
"""The form of values under ``from``."""


class RasterLabels(Section):
    """A class or a value for each pixel, from the numbers or colours of a raster on any grid.

    Each pixel of the scene takes the nearest value. Pixels hidden by nodata, mask or alpha, or beyond the raster's
    edge, are unlabelled.
    """

    kind: Literal["raster"]
    path: str
    """The file, from the project's root."""
    values: Values
    """What the values are. Classes list under ``from`` whole numbers (``ids``: ``"4"``), or colours (``colors``:
    ``"#1f6f3a"``) of the file's red, green and blue bands (the first three, if they are not marked) or of its colour
    table. ``numbers`` are for the task ``pixel_regression``; the file's scale and offset are applied."""
    band: int = Field(default=1, ge=1)
    """The band with the numbers."""
    drop: tuple[Name, ...] = ()
    """Values to ignore: their pixels are unlabelled, also with ``background``."""
    background: Name | None = None
    """The class of all pixels without a value in the raster; left out: they are unlabelled."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.values == NUMBERS and (self.drop or self.background is not None):
            raise ValueError("numbers are not classes: labels of numbers take no 'drop' and no 'background'")
        return self

    def files(self) -> Iterator[str]:
        """Yield the path of the file."""
        yield self.path

    @contextmanager
    def open(self, grid: Grid, class_mapping: ClassMapping, scene: str) -> Iterator["LabelledPixels | MeasuredPixels"]:
        """Open the file on the scene's grid, to be read by window.

        Raises LabelError for a missing file or class, pixels of another type than ``values``, or labels off the image;
        for values that no class lists, it is raised when they are read.
        """
        from quadrat.labels.raster_values import Pixels

        self._check_task(class_mapping, scene)
        if self.values == NUMBERS:
            with ExitStack() as files:
                yield MeasuredPixels(Pixels(self.path, grid, scene, files), self.band)
            return
        background = (
            IGNORE
            if self.background is None
            else class_id(self.background, class_mapping, "background", scene, self.path)
        )
        with ExitStack() as files:
            pixels = Pixels(self.path, grid, scene, files)
            form = pixels.ids(self.band) if self.values == "ids" else pixels.colors()
            yield LabelledPixels(pixels, form, self._key(class_mapping, scene, form.dtype), background)

    def _check_task(self, class_mapping: ClassMapping, scene: str) -> None:
        """Raise LabelError for numbers where the task has classes, and for classes where it has values."""
        if (self.values == NUMBERS) != (class_mapping.unit == "values"):
            raise LabelError(
                "the labels do not fit the task",
                scene,
                self.path,
                expected="values: numbers" if class_mapping.unit == "values" else "values: ids, or colors",
                got=f"values: {self.values}",
                hint="correct 'values' of the labels in the catalog, or task.kind in params.yaml",
            )

    def _key(self, class_mapping: ClassMapping, scene: str, dtype: np.dtype[Any]) -> "Key":
        """Return the class id of each value that the type holds, IGNORE if it is dropped."""
        ids: dict[int, int] = {}
        for value, number in class_mapping.aliases.items():
            if WRITTEN[self.values].fullmatch(value) and ids.setdefault(_number(value), number) != number:
                raise self._unusable(f"two classes claim {value}", value, scene)
        ids |= dict.fromkeys((_number(value) for value in self.drop if WRITTEN[self.values].fullmatch(value)), IGNORE)
        ids = {value: number for value, number in ids.items() if np.iinfo(dtype).min <= value <= np.iinfo(dtype).max}
        if not ids:
            raise self._unusable(
                "no class lists any value of the labels", ", ".join(sorted(class_mapping.aliases)), scene
            )
        numbers = np.array(sorted(ids), dtype)
        return Key(self.values, numbers, np.array([ids[n] for n in numbers.tolist()], np.uint8), class_mapping)

    def _unusable(self, problem: str, got: str, scene: str) -> LabelError:
        example = "whole numbers such as '4'" if self.values == "ids" else "colours such as '#1f6f3a'"
        return LabelError(
            problem,
            scene,
            self.path,
            expected=f"{example} under 'from' of the classes, each once",
            got=got,
            hint="correct 'from' in params.yaml, or 'values' of the labels in the catalog",
        )


@dataclass(frozen=True)
class Key:
    """The class ids of the values of a raster."""

    values: Values
    numbers: NDArray[Any]
    """The known values, in rising order and of the raster's type; colours in 24 bits."""
    ids: NDArray[np.uint8]
    """The class id of each, IGNORE if it is dropped."""
    class_mapping: ClassMapping

    def find(self, numbers: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return the class ids of whole numbers (of the same type, any shape), and whether they are known."""
        if numbers.dtype == np.uint8 and numbers.size > BYTES:
            ids, known = self.find(np.arange(BYTES, dtype=np.uint8))
            return ids[numbers], known[numbers]
        places = np.minimum(np.searchsorted(self.numbers, numbers), len(self.numbers) - 1)
        return self.ids[places], self.numbers[places] == numbers

    def text(self, number: int) -> str:
        """Return a value as classes write it."""
        return str(number) if self.values == "ids" else f"#{number:06x}"


class LabelledPixels:
    """The labels of a raster on a scene's grid. Not shared between threads."""

    box_remarks: tuple[str, ...] = ()

    def __init__(self, pixels: "Pixels", form: "Format", key: Key, background: int) -> None:
        """Map ``pixels`` by ``key``; pixels without a value are ``background``."""
        self._pixels, self._form, self._key, self.background = pixels, form, key, background
        self._table = self._tabled()
        self._bytes = bytearray()  # memory of the last window, reused

    @property
    def remarks(self) -> tuple[str, ...]:
        """Possible problems of the file, and classes whose values it hides."""
        return (*self._pixels.doubt(), *self._hidden())

    def _hidden(self) -> Iterator[str]:
        """Yield a warning about each value of a class that is the file's nodata value."""
        key, path = self._key, self._pixels.path
        lost = self._pixels.hidden(self._form, key.numbers) & ~np.isin(key.ids, (IGNORE, self.background))
        for number, own in zip(key.numbers[lost].tolist(), key.ids[lost].tolist(), strict=True):
            name = key.class_mapping.names[own]
            yield (
                f"{path}: {key.text(number)} is its nodata value, so these pixels are unlabelled, though class {name} "
                "lists it: remove the nodata value (gdal_edit.py -unsetnodata), or make a copy without it"
            )

    def class_ids(self, window: Window, *, all_touched: bool) -> NDArray[np.uint8]:  # noqa: ARG002 (for polygons only)
        """Return (y, x) class ids, IGNORE if there is none; the window may reach beyond the grid.

        Raises LabelError for values that no class lists, with their counts in the whole scene.
        """
        inside = window.intersection(self._pixels.grid.area)
        found = None if inside is None else self._translated(inside) if self._table else self._found(inside)
        if found is not None and inside == window:
            return found
        ids = np.full(window.shape, self.background, np.uint8)
        if found is not None and inside is not None:
            ids[inside.slices(window)] = found
        return ids

    def _tabled(self) -> bytes | None:
        """Return the class id of each byte, UNCLAIMED if no class lists it; None if a byte does not give a class."""
        meanings = self._pixels.byte_meanings(self._form)
        if meanings is None or (self._key.ids == UNCLAIMED).any() or self.background == UNCLAIMED:
            return None
        numbers, labelled = meanings
        found, known = self._key.find(numbers)
        return np.where(labelled, np.where(known, found, UNCLAIMED), self.background).astype(np.uint8).tobytes()

    def _translated(self, window: Window) -> NDArray[np.uint8]:
        """Return the class ids (y, x) of a window within the grid, by the table."""
        if len(self._bytes) != window.size:
            self._bytes = bytearray(window.size)
        self._pixels.read_bytes(window, self._form, self._bytes)
        ids = self._bytes.translate(self._table)
        if UNCLAIMED in ids:
            raise self._unclaimed()
        return np.frombuffer(ids, np.uint8).reshape(window.shape)

    def _found(self, window: Window) -> NDArray[np.uint8]:
        """Return the class ids (y, x) of a window within the grid."""
        ids = np.full(window.shape, self.background, np.uint8)
        for part, numbers, labelled in self._pixels.read(window, self._form):
            found, known = self._key.find(numbers)
            if (labelled & ~known).any():
                raise self._unclaimed()
            np.copyto(ids[part], found, where=labelled)
        return ids

    def objects(self, window: Window) -> None:
        """Return None, because pixels are not objects."""

    def _unclaimed(self) -> LabelError:
        counts = Counter[str]()
        for strip in strips(self._pixels.grid.area, STRIP_ROWS):
            for _, numbers, labelled in self._pixels.read(strip, self._form):
                unknown, times = np.unique(numbers[labelled & ~self._key.find(numbers)[1]], return_counts=True)
                counts.update({self._key.text(int(n)): int(t) for n, t in zip(unknown, times, strict=True)})
        return unclaimed(counts, "px", self._key.class_mapping.aliases, self._pixels.scene, self._pixels.path)


def _number(value: str) -> int:
    return int(value[1:], 16) if value.startswith("#") else int(value)
