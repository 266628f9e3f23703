"""Converts images to the units of the bands that a model learnt from."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadrat.errors import ModelError
from quadrat.geo.grids.windows import Window
from quadrat.geo.reading.open_image import Raster, Strip
from quadrat.geo.reading.reader import Reader
from quadrat.geo.sources.bands import Band, dates_of, is_valid, names_of, undated
from quadrat.runtime.memory import Empty
from quadrat.scenes.image import Image

ROUNDING = 2.0**-22
"""Relative error of a float32 that went through two roundings, and a factor."""


class InUnits(Raster):
    """An open image, converted to raw values of the bands that a model learnt from.

    Pixels without a value have the model's nodata (NaN if it has none).
    """

    def __init__(self, image: Image, bands: Sequence[Band]) -> None:
        """Open ``image``; raise ModelError if a band is in another unit, or the number of dates differs."""
        _check_dates(image, len(dates_of(bands)))
        super().__init__(image.origin(names_of(bands)))
        self._asked = image, bands
        self._hidden: dict[int, NDArray[np.bool_]] | None = None  # but in ``read``
        self._stored, self._learnt = undated(self._held), undated(bands)
        self.bands = tuple(b.model_copy(update={"date": h.date}) for b, h in zip(bands, self._held, strict=True))
        for learnt, theirs in zip(self._learnt, self._stored, strict=True):
            if theirs.unit != learnt.unit:
                self.__exit__()
                raise ModelError(
                    f"band {theirs.name} is in another unit than what the model learnt from",
                    file=image.file_of(theirs.name),
                    expected=learnt.unit,
                    got=theirs.unit,
                    hint="convert the image, or correct the catalog",
                )
        self._alike = all(_alike(a, b) for a, b in zip(self._stored, self._learnt, strict=True))
        if not self._alike:
            self.dtype = np.dtype(np.float32)

    def again(self) -> "InUnits":
        """Return the same, opened once more, for another thread."""
        return InUnits(*self._asked)

    def read(self, window: Window, empty: Empty = np.empty) -> Strip:
        """Return the pixels of a window within the grid, in the model's units."""
        self._hidden = hidden_at = dict[int, NDArray[np.bool_]]()
        try:
            strip = super().read(window, empty)
        finally:
            self._hidden = None
        if self._alike:
            return strip
        values, known = self._converted(strip.values)
        for place, hidden in hidden_at.items():
            values[place][hidden] = _blank(self._learnt[place])
        return Strip(window, values, strip.seen & known.reshape(*strip.by_date.shape).all(1))

    def _hide(
        self, values: NDArray[Any], hidden: NDArray[np.bool_], place: int, reader: Reader, window: Window
    ) -> None:
        """Hide them as ``Raster`` does, and note where, since a band without a nodata value can't say it."""
        super()._hide(values, hidden, place, reader, window)
        if self._held[place].blank is None and self._hidden is not None:
            self._hidden[place] = self._hidden.get(place, False) | hidden

    def overview(self, side: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the image in at most ``side`` × ``side`` px, and its valid pixels: (band, y, x) each."""
        height, width = self.grid.shape
        steps = max(1.0, max(height, width) / side)
        shape = max(1, round(height / steps)), max(1, round(width / steps))
        values, shown = self.reduced(shape)
        converted, known = self._converted(values)
        return converted, known & shown

    def _converted(self, values: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        pairs = [in_units(*each) for each in zip(values, self._stored, self._learnt, strict=True)]
        return np.stack([converted for converted, _ in pairs]), np.stack([known for _, known in pairs])


def in_units(values: NDArray[Any], stored: Band, learnt: Band) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return raw values of band ``stored`` as raw values of band ``learnt``, and which are valid.

    Values that are whole but for rounding of float32 become whole: reflectance becomes the original counts. One that
    becomes the model's nodata value counts as the next; but it is none where the image doesn't say what its own nodata
    value is, because it may have filled its holes with it.
    """
    known = is_valid(values, stored)
    factor, shift = stored.scale / learnt.scale, (stored.offset - learnt.offset) / learnt.scale
    exact = values.astype(np.float64)
    if (factor, shift) != (1, 0):
        exact = exact * factor + shift
        whole = np.rint(exact)
        exact = np.where(abs(exact - whole) <= ROUNDING * abs(exact), whole, exact)
    raw = exact.astype(np.float32)
    if learnt.nodata is not None:
        alike = known & (raw == learnt.nodata)
        if stored.nodata is None:
            known &= ~alike
        else:
            raw[alike] = _beside(learnt.nodata, learnt.dtype)
    raw[~known] = _blank(learnt)
    return raw, known


def _blank(learnt: Band) -> float:
    return np.nan if learnt.nodata is None else learnt.nodata


def _beside(nodata: float, dtype: str) -> np.float32:
    """Return the value of a type that lies beside ``nodata``, towards 0; above it if that is 0."""
    at, zero = np.float32(nodata), np.float32(0)
    if dtype.startswith("float"):
        return np.nextafter(at, zero) if at else np.finfo(np.float32).tiny
    step = max(np.float32(1), np.spacing(abs(at)))
    return np.float32(at - step if at > 0 else at + step)


def _check_dates(image: Image, learnt: int) -> None:
    given = len(image.dates or ())
    if given != learnt:
        raise ModelError(
            "the image has another number of dates than what the model learnt from",
            file=image.file_of(image.grid_band),
            expected=_dates(learnt),
            got=_dates(given),
            hint="give it as many 'dates' in a catalog" if learnt else "give it no 'dates', but one of them alone",
        )


def _dates(count: int) -> str:
    return f"{count} dates" if count else "an image without dates"


def _alike(stored: Band, learnt: Band) -> bool:
    return stored.model_copy(update={"dtype": learnt.dtype}) == learnt
