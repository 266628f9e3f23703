"""An open image as a lazy xarray.DataArray."""

from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np
import rioxarray  # noqa: F401 (gives xarray its .rio)
import xarray
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.geo.sources.bands import Band, dates_of, names_of
from quadrat.geo.sources.dates import times


class Pixels(Protocol):
    """An image that is read by window, such as ``quadrat.geo.reading.open_image.Raster``."""

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

    def values(self, window: Window, places: Sequence[int]) -> NDArray[Any]:
        """Return the bands at ``places`` (place, y, x) in a window within the grid."""
        ...


def to_xarray(pixels: Pixels) -> xarray.DataArray:
    """Return an array (band, y, x), or (time, band, y, x) of a time series; pixels are read on access.

    Coordinates are pixel centres; each band's unit, scale and offset stand as coordinates along ``band``. Those along
    ``time`` are datetime64 (UTC) where the names of the dates are dates of ISO 8601, else the names.
    """
    height, width = pixels.grid.shape
    transform = pixels.grid.transform
    names, dates = names_of(pixels.bands), dates_of(pixels.bands)
    coords: dict[str, Any] = {
        "band": list(names),
        **{
            what: ("band", [getattr(b, what) for b in pixels.bands[: len(names)]])
            for what in ("unit", "scale", "offset")
        },
    }
    if dates:
        coords["time"] = times(dates)
    if transform.is_rectilinear:
        coords["x"] = transform.c + transform.a * (np.arange(width) + 0.5)
        coords["y"] = transform.f + transform.e * (np.arange(height) + 0.5)
    leading = (len(dates), len(names)) if dates else (len(names),)
    lazy = indexing.LazilyIndexedArray(_LazyPixels(pixels, leading))
    array = xarray.DataArray(xarray.Variable((*["time"] * bool(dates), "band", "y", "x"), lazy), coords=coords)
    array = array.rio.write_transform(transform)
    placed: xarray.DataArray = array if pixels.grid.crs is None else array.rio.write_crs(pixels.grid.crs)
    return placed


class _LazyPixels(BackendArray):
    """The array behind xarray: reads the smallest window that contains the index."""

    def __init__(self, pixels: Pixels, leading: tuple[int, ...]) -> None:
        self._pixels = pixels
        self._places = np.arange(len(pixels.bands)).reshape(leading)
        self.shape = (*leading, *pixels.grid.shape)
        self.dtype = pixels.dtype

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # it never changes, and open files can't be copied

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        outer = indexing.IndexingSupport.OUTER
        pixels: NDArray[Any] = indexing.explicit_indexing_adapter(key, self.shape, outer, self._read)
        return pixels

    def _read(self, key: tuple[int | np.integer[Any] | slice | NDArray[np.intp], ...]) -> NDArray[Any]:
        indices = [np.atleast_1d(np.arange(n)[k]) for n, k in zip(self.shape, key, strict=True)]
        shape = tuple(index.size for index in indices)
        singles = tuple(0 if isinstance(k, int | np.integer) else slice(None) for k in key)
        if not all(shape):
            return np.empty(shape, self.dtype)[singles]
        *leading, rows, cols = indices
        places = self._places[np.ix_(*leading)].ravel().tolist()
        top, left = int(rows.min()), int(cols.min())
        window = Window(top, left, int(rows.max()) + 1 - top, int(cols.max()) + 1 - left)
        picked = self._pixels.values(window, places)[:, rows - top][:, :, cols - left]
        return picked.reshape(shape)[singles]
