"""Reads bands of a file, or of a mosaic, together on a grid."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window as RasterioWindow

from quadrat.errors import ImageError
from quadrat.geo.files.raster_files import TROUBLE, WIDE, environment
from quadrat.geo.grids.windows import Window
from quadrat.geo.sources.channel import is_remote
from quadrat.runtime.memory import Empty

TOLERANCE = 1e-3
"""Largest error of a resampled pixel's place, px of the source (GDAL's own default is 0.125)."""

TALL = 1024
"""Most rows that are read at once, px."""

MASK = 0
"""The dataset's mask, in place of a band's number."""


WHOLE = 2**52
"""Largest whole number that GDAL keeps exactly, because it computes mosaics and resampling in floats."""

Way = Literal["plain", "painted", "resampled"]
"""How stored values become those that are read."""


@dataclass(frozen=True)
class Stored:
    """The data type in the files, and the nodata value."""

    dtype: np.dtype[Any]
    nodata: float | None


@dataclass(frozen=True)
class Reader:
    """An open dataset on the image's grid, with the numbers of the image's bands at ``places``."""

    dataset: Any
    files: tuple[str, ...]
    numbers: tuple[int, ...]
    places: tuple[int, ...]
    mask: int | None
    """The number of the alpha band, MASK, or None if only values show what is valid."""
    block: tuple[int, int]
    """Height and width of a block, px; as wide as the image if unknown."""
    stored: Stored
    way: Way = "plain"

    def read(
        self, window: Window | None, shape: tuple[int, int], empty: Empty
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return values (band, y, x), and the mask (y, x), True where valid, if there is one.

        A window of None is the whole image; it is reduced to ``shape``, px. ``empty`` allocates the array of values.
        """
        try:
            with environment(self.files):
                pixels, shown = self._decoded(window, shape, empty)
        except TROUBLE as error:
            more, far = len(self.files) - 1, any(map(is_remote, self.files))
            raise ImageError(
                "the image can't be read: "
                + ("the object can't be reached" if far else "the file is damaged or cut short"),
                file=self.files[0] + (f" (and {more} more)" if more else ""),
                window=window,
                got=error.__cause__ or error,
                hint="check the network, then try again" if far else "fetch the file again",
            ) from error
        pixels = pixels.astype(self.stored.dtype, copy=False)  # GDAL resamples signed bytes as 16 bits
        if self.way != "plain" and self.stored.dtype.name in WIDE:
            self._check_exact(pixels, shown, window)
        if self.way == "resampled" and self.stored.nodata is not None and shown is not None:
            self._keep_apart(pixels, shown)
        return pixels, shown

    def _decoded(
        self, window: Window | None, shape: tuple[int, int], empty: Empty
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        area = None if window is None else RasterioWindow(window.col, window.row, window.width, window.height)
        dtype = self.dataset.dtypes[self.numbers[0] - 1]
        with_alpha = self.mask and self.dataset.dtypes[self.mask - 1] == dtype
        numbers = [*self.numbers, self.mask] if with_alpha else [*self.numbers]
        pixels = empty((len(numbers), *shape), dtype)
        self.dataset.read(numbers, window=area, out=pixels)
        if self.mask is None:
            return pixels, None
        if with_alpha:  # one read decodes pixel-interleaved files once
            return pixels[:-1], pixels[-1] != 0
        if self.mask == MASK:
            return pixels, self.dataset.read_masks(numbers[0], window=area, out_shape=shape) != 0
        return pixels, self.dataset.read(self.mask, window=area, out_shape=shape) != 0

    def _keep_apart(self, pixels: NDArray[Any], shown: NDArray[np.bool_]) -> None:
        """Change values that became nodata by resampling to the next value, because they are valid."""
        nodata = self.stored.dtype.type(self.stored.nodata)
        if self.stored.dtype.kind == "f":
            other = np.nextafter(nodata, self.stored.dtype.type(0 if nodata else 1))
        else:
            other = nodata - 1 if nodata == np.iinfo(nodata.dtype).max else nodata + 1
        pixels[(pixels == nodata) & shown] = other

    def _check_exact(self, pixels: NDArray[Any], shown: NDArray[np.bool_] | None, window: Window | None) -> None:
        """Raise ImageError if a value is too large to be exact after a conversion to float."""
        wrong = pixels > WHOLE if self.stored.dtype.kind == "u" else (pixels > WHOLE) | (pixels < -WHOLE)
        if shown is not None:
            wrong &= shown
        if self.stored.nodata is not None:
            wrong &= pixels != int(self.stored.nodata)
        if wrong.any():
            raise ImageError(
                "such large 64-bit integers can't be mosaicked or resampled exactly",
                file=self.files[0],
                window=window,
                expected=f"at most {WHOLE}, or the image's own grid in one file",
                got=pixels[wrong][0],
                hint="subtract an offset, or store them as float64",
            )
