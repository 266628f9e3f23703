"""A raster's values as numbers on a scene's grid: whole numbers, or colours in 24 bits."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj.exceptions import ProjError

from quadrat.errors import LabelError
from quadrat.geo.files.file_errors import grid_of
from quadrat.geo.files.opening import open_raster
from quadrat.geo.files.raster_files import (
    COLORS,
    SIGNED,
    TROUBLE,
    environment,
    has_signed_bytes,
)
from quadrat.geo.files.stored_bands import Stored
from quadrat.geo.geometry.accuracy import doubtful_place
from quadrat.geo.grids.grid import SHIFT, Grid
from quadrat.geo.grids.windows import Window, tiles
from quadrat.geo.reading.nearest import Nearest, parts
from quadrat.geo.sources.channel import is_remote
from quadrat.geo.vectors.features import bounds, check_crs, crs_name, no_way

PIECE = 2**18
"""Px per piece, because processing takes many bytes per px."""

SIDE = 512
"""Side of a piece, px, if the labels are on another grid."""

MOST = 2**22
"""Largest number of px of a file on another grid that are in memory at once."""


@dataclass(frozen=True)
class Format:
    """The format of the values: the bands with nodata and masks, and the colours of a colour table."""

    stored: Stored
    palette: NDArray[np.int64] | None = None
    """Colours by index; -1 is transparent."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The data type of the values."""
        plain = self.palette is None and len(self.stored.bands) == 1
        return self.stored.dtype if plain else np.dtype(np.int64)


class Pixels:
    """An open raster's values. Not shared between threads."""

    def __init__(self, path: str, grid: Grid, scene: str, files: ExitStack) -> None:
        """Open the file; it closes with ``files``."""
        self.path, self.grid, self.scene = path, grid, scene
        try:
            with environment((path,)):
                self._source = files.enter_context(open_raster(path, LabelError, scene))
        except TROUBLE as cause:
            raise self._error("the labels can't be opened", got=cause, hint="check the path in the catalog") from cause
        if has_signed_bytes(self._source):
            problem = "the labels mark their bytes as signed by a tag that GDAL no longer reads"
            raise LabelError(problem, scene, path, **SIGNED)
        own = grid_of(self._source, path, LabelError, scene)
        self._nearest = self._way(own)
        self.doubt = partial(doubtful_place, path, own.crs, grid)
        """Looks for possible problems of the file."""

    def read(
        self, window: Window, form: Format
    ) -> Iterator[tuple[tuple[slice, slice], NDArray[Any], NDArray[np.bool_]]]:
        """Yield pieces of a window within the grid: values (whole numbers), and where they are valid (y, x)."""
        pieces = tiles(window, SIDE, SIDE) if self._nearest else _few_rows(window)
        for piece in pieces:
            values, mask = self._read(piece, form)
            yield piece.slices(window), *_meant(values, mask, form)

    def read_bytes(self, window: Window, form: Format, into: bytearray) -> None:
        """Read the stored bytes of a window within the grid, in pieces; only for files with ``byte_meanings``."""
        self._values(window, form, np.frombuffer(into, np.uint8).reshape(1, *window.shape))

    def byte_meanings(self, form: Format) -> tuple[NDArray[Any], NDArray[np.bool_]] | None:
        """Return the value and validity of each byte (256,); None if a pixel is not given by one byte."""
        stored = form.stored
        if self._nearest or stored.masked or len(stored.bands) > 1 or stored.dtype != np.uint8:
            return None
        numbers, labelled = _meant(np.arange(256, dtype=np.uint8)[None, None], None, form)
        return numbers[0], labelled[0]

    def hidden(self, form: Format, numbers: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which of ``numbers`` (n,) nodata hides; none of a colour table, whose nodata has no colour."""
        stored = form.stored
        if form.palette is not None:
            return np.zeros(numbers.shape, np.bool_)
        shifts = range(8 * len(stored.bands) - 8, -8, -8)
        values = [numbers >> shift & 255 for shift in shifts] if len(stored.bands) > 1 else [numbers]
        shown = stored.given(np.stack(values))
        return np.zeros(numbers.shape, np.bool_) if shown is None else ~shown

    def _read(self, window: Window, form: Format) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return stored values (band, y, x), and the mask (y, x), in a window of the grid."""
        if self._nearest is None:
            return self._values(window, form), self._mask(window, form)
        rows, cols = self._nearest.pixels(window)
        values = np.zeros((len(form.stored.bands), *window.shape), form.stored.dtype)
        shown = rows >= 0
        for part, box in parts(rows, cols, MOST):
            there = ((rows[part] - box.row) * box.width + cols[part] - box.col).clip(0)
            values[:, *part] = self._values(box, form).reshape(len(values), -1).take(there, 1)
            mask = self._mask(box, form)
            if mask is not None:
                shown[part] &= mask.take(there)
        return values, shown

    def _values(self, window: Window, form: Format, into: NDArray[np.uint8] | None = None) -> NDArray[Any]:
        """Return stored values (band, y, x) of a window of the file, in a reused array or a new one."""
        with self._whole():
            return form.stored.values(window, into)

    def _mask(self, window: Window, form: Format) -> NDArray[np.bool_] | None:
        with self._whole():
            return form.stored.mask(window)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Raise LabelError if the file is damaged."""
        try:
            with environment((self.path,)) if is_remote(self.path) else nullcontext():
                yield
        except TROUBLE as cause:
            hint = "fetch the file again"
            raise self._error("the labels can't be read: the file is damaged", got=cause, hint=hint) from cause

    def ids(self, band: int) -> Format:
        """Return the format of whole numbers in ``band``."""
        source = self._source
        if band > source.count or np.dtype(source.dtypes[band - 1]).kind not in "iu":
            expected = f"whole numbers in band {band}"
            raise self._unlike(expected, "convert it with `gdal_translate -ot Byte`, or correct 'band' in the catalog")
        return Format(Stored.of(source, (band,)))

    def numbers(self, band: int) -> tuple[Format, float, float]:
        """Return the format of any numbers in ``band``, and the scale and offset that the file states for it."""
        source = self._source
        if band > source.count or np.dtype(source.dtypes[band - 1]).kind not in "iuf":
            raise self._unlike(f"numbers in band {band}", "correct 'band' of the labels in the catalog")
        return Format(Stored.of(source, (band,))), source.scales[band - 1], source.offsets[band - 1]

    def colors(self) -> Format:
        """Return the format of colours: the bands marked as colours, the first three bands, or a colour table."""
        source = self._source
        if source.count >= 3:
            colors = list(source.colorinterp)
            all_named = all(colors.count(color) == 1 for color in COLORS)
            bands = tuple(colors.index(color) + 1 for color in COLORS) if all_named else (1, 2, 3)
            if {source.dtypes[band - 1] for band in bands} == {"uint8"}:
                return Format(Stored.of(source, bands))
        try:
            table = source.colormap(1)
        except ValueError:  # no colour table
            expected = "red, green and blue as bytes, or a colour table"
            raise self._unlike(expected, "correct 'values' of the labels in the catalog") from None
        palette = np.zeros(np.iinfo(source.dtypes[0]).max + 1, np.int64)
        for index, (red, green, blue, alpha) in table.items():
            palette[index] = red << 16 | green << 8 | blue if alpha else -1
        return Format(Stored.of(source, (1,)), palette)

    def _way(self, own: Grid) -> Nearest | None:
        """Return the map to the file's pixels, None if both grids are equal; raise LabelError if they don't overlap."""
        check_crs(self.grid, own.crs, self.path, LabelError, self.scene)
        if self._alike(own):
            return None
        if own.crs is None and not self._resized(own):
            raise self._error(
                "labels without a CRS must have the image's own pixels",
                expected=f"{self.grid.shape[1]} × {self.grid.shape[0]} px",
                got=f"{own.shape[1]} × {own.shape[0]} px, with another size or place",
                hint="resample the labels to the image",
            )
        try:
            nearest = Nearest(self.grid, own)
        except ProjError as cause:
            raise no_way(self.grid, own.crs, self.path, LabelError, self.scene) from cause
        if nearest.meets():
            return nearest
        raise self._error(
            "no label lies on the image",
            expected=f"a raster that meets {bounds(self.grid)} ({crs_name(self.grid.crs)})",
            got=f"one within {bounds(own)} ({crs_name(own.crs)})",
            hint="check the labels' CRS and that they belong to this image",
        )

    def _alike(self, own: Grid) -> bool:
        return (own.crs, own.shape) == (self.grid.crs, self.grid.shape) and own.shift(self.grid) <= SHIFT

    def _resized(self, own: Grid) -> bool:
        """Return whether the scene is the file in pixels of another size, as ``grid`` in the catalog makes it."""
        size = abs(self.grid.transform.determinant) ** 0.5
        bounds = (np.array(grid.footprint(grid.area).bounds) for grid in (own, self.grid))
        return own.transform != self.grid.transform and bool((np.abs(np.subtract(*bounds)) < size).all())

    def _unlike(self, expected: str, hint: str) -> LabelError:
        got = ", ".join(self._source.dtypes)
        return self._error("the labels' pixels are of another type", expected=expected, got=got, hint=hint)

    def _error(self, problem: str, *, hint: str, got: object, expected: object = None) -> LabelError:
        return LabelError(problem, self.scene, self.path, expected=expected, got=got, hint=hint)


def _meant(
    values: NDArray[Any], mask: NDArray[np.bool_] | None, form: Format
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return stored ``values`` (band, y, x) as numbers, and where they are valid (y, x)."""
    numbers, given = _numbers(values, form), form.stored.given(values)
    labelled = np.ones(numbers.shape, np.bool_) if mask is None else mask
    if form.palette is not None:
        labelled = labelled & (numbers >= 0)
    if given is not None:
        labelled = labelled & given
    return numbers, labelled


def _numbers(values: NDArray[Any], form: Format) -> NDArray[Any]:
    numbers: NDArray[Any] = values[0] if len(values) == 1 else values[0].astype(np.int64)
    for band in values[1:]:
        numbers = numbers << 8 | band
    return numbers if form.palette is None else form.palette[numbers]


def _few_rows(window: Window) -> Iterator[Window]:
    """Cut a window into rows of about PIECE px together."""
    step = max(1, PIECE // window.width)
    for row in range(window.row, window.bottom, step):
        yield Window(row, window.col, min(step, window.bottom - row), window.width)
