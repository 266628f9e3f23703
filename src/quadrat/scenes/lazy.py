"""An open image as a lazy xarray.DataArray."""

from typing import Any, Protocol, Self

import numpy as np
import rioxarray  # noqa: F401 (gives xarray its .rio)
import xarray
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from quadrat.scenes.bands import Band
from quadrat.scenes.grid import Grid
from quadrat.windows import Window


class Pixels(Protocol):
    """What is read by window (``quadrat.scenes.raster.Raster`` is one)."""

    @property
    def grid(self) -> Grid:
        """Where the pixels lie."""
        ...

    @property
    def bands(self) -> tuple[Band, ...]:
        """What they mean."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """The data type of their values."""
        ...

    def values(self, window: Window) -> NDArray[Any]:
        """Return (band, y, x) of a window within the grid."""
        ...


def to_xarray(pixels: Pixels) -> xarray.DataArray:
    """Return an array (band, y, x); pixels move when its values are asked for.

    Coordinates are pixel centres; each band's unit, scale and offset stand as coordinates along ``band``.
    """
    height, width = pixels.grid.shape
    transform = pixels.grid.transform
    coords: dict[str, Any] = {
        "band": [band.name for band in pixels.bands],
        "unit": ("band", [band.unit for band in pixels.bands]),
        "scale": ("band", [band.scale for band in pixels.bands]),
        "offset": ("band", [band.offset for band in pixels.bands]),
    }
    if transform.is_rectilinear:
        coords["x"] = transform.c + transform.a * (np.arange(width) + 0.5)
        coords["y"] = transform.f + transform.e * (np.arange(height) + 0.5)
    lazy = indexing.LazilyIndexedArray(_LazyPixels(pixels))
    array = xarray.DataArray(xarray.Variable(("band", "y", "x"), lazy), coords=coords)
    array = array.rio.write_transform(transform)
    placed: xarray.DataArray = array if pixels.grid.crs is None else array.rio.write_crs(pixels.grid.crs)
    return placed


class _LazyPixels(BackendArray):
    """What xarray indexes: reads the smallest window that holds what is asked for."""

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels
        self.shape = (len(pixels.bands), *pixels.grid.shape)
        self.dtype = pixels.dtype

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # nothing in it changes, and open files can't be copied

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        basic = indexing.IndexingSupport.BASIC
        pixels: NDArray[Any] = indexing.explicit_indexing_adapter(key, self.shape, basic, self._read)
        return pixels

    def _read(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        rows, cols = (np.atleast_1d(np.arange(n)[k]) for n, k in zip(self.shape[1:], key[1:], strict=True))
        if not (rows.size and cols.size):
            return np.empty(self.shape, self.dtype)[key]
        top, left = int(rows.min()), int(cols.min())
        window = Window(top, left, int(rows.max()) + 1 - top, int(cols.max()) + 1 - left)
        picked = self._pixels.values(window)[:, rows - top][:, :, cols - left]
        singles = tuple(0 if isinstance(k, int) else slice(None) for k in key[1:])
        return picked[(key[0], *singles)]
