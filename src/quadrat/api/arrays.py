"""Arrays in memory as files, and files as arrays: so that there is one way to read, check and score pixels."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from quadrat.errors import ImageError
from quadrat.geo.files.opening import open_raster
from quadrat.geo.grids.grid import SHIFT, Grid
from quadrat.geo.grids.windows import Window
from quadrat.geo.reading.xarray_view import to_xarray
from quadrat.geo.sources.bands import Band
from quadrat.tasks.common.outputs import RasterLayer

KINDS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
"""Data types of arrays that a file can hold."""


def checked(image: NDArray[Any] | xarray.DataArray, axes: tuple[str, ...], what: str) -> NDArray[Any]:
    """Return the values of an array with ``axes``, in their order; raise ImageError for other axes or data types.

    ``what`` is the array's name in errors. A DataArray may have its axes in any order.
    """
    if isinstance(image, xarray.DataArray):
        if {*map(str, image.dims)} != {*axes}:
            raise ImageError(f"{what} has other axes", expected=", ".join(axes), got=", ".join(map(str, image.dims)))
        image = image.transpose(*axes).to_numpy()
    if np.ma.is_masked(image):
        raise ImageError(
            f"{what} has masked values, which would count",
            expected="an array without a mask",
            hint="fill them with a value that means none: array.filled(nodata)",
        )
    values: NDArray[Any] = np.asarray(image)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)  # files of other machines have another order
    if values.ndim != len(axes) or not values.size:
        raise ImageError(f"{what} has another shape", expected=f"({', '.join(axes)})", got=values.shape)
    if values.dtype.name not in KINDS:
        raise ImageError(
            f"{what} is of a data type that no image has",
            expected=", ".join(KINDS),
            got=values.dtype,
            hint="convert it: array.astype('float32')",
        )
    return values


def grid_of(image: NDArray[Any] | xarray.DataArray, shape: tuple[int, int], what: str) -> Grid | None:
    """Return where an array lies, by its CRS and its coordinates ``x`` and ``y``; None if it has neither.

    ``shape`` is its (height, width), px. Raises ImageError for uneven coordinates, or a CRS without coordinates.
    """
    import rioxarray  # noqa: F401 (gives xarray its .rio)

    if not isinstance(image, xarray.DataArray):
        return None
    crs = image.rio.crs
    if "x" not in image.coords or "y" not in image.coords:
        if crs is None:
            return None
        raise ImageError(
            f"{what} has a CRS, and no coordinates of its pixels",
            expected="coordinates x and y: the pixels' centres",
            got=", ".join(map(str, image.coords)),
            hint="write a rotated image to a file, and give its path",
        )
    given = image.rio.transform()
    left, width = _axis(image["x"].to_numpy(), given.a, f"{what}: x")
    top, height = _axis(image["y"].to_numpy(), given.e, f"{what}: y")
    return Grid(crs, Affine(width, 0.0, left, 0.0, height, top), shape)


def _axis(centres: NDArray[Any], single: float, what: str) -> tuple[float, float]:
    """Return the outer edge of the first of evenly spaced pixels, and their step; ``single`` is that of one alone."""
    step = float(centres[-1] - centres[0]) / (len(centres) - 1) if len(centres) > 1 else single
    even = centres[0] + step * np.arange(len(centres))
    if not step or not np.all(np.abs(centres - even) <= SHIFT * abs(step)):
        raise ImageError(
            f"{what} is not evenly spaced",
            expected="a grid of pixels of one size",
            got=f"{len(centres)} coordinates from {centres[0]} to {centres[-1]}",
            hint="bring it to a grid, e.g. with .rio.reproject",
        )
    return float(centres[0]) - step / 2, step


def write(path: Path, values: NDArray[Any], grid: Grid | None, nodata: float | None, names: Sequence[str] = ()) -> None:
    """Write (band, y, x) as a GeoTIFF; ``names`` are those of classes, by id, as layers hold them."""
    bands, height, width = values.shape
    place = {} if grid is None else {"transform": grid.transform, "crs": grid.crs}
    profile = {"count": bands, "height": height, "width": width, "dtype": values.dtype, "nodata": nodata, **place}
    tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256, "BIGTIFF": "IF_SAFER"}
    with unplaced(), rasterio.open(path, "w", driver="GTiff", **profile, **tiles) as file:
        file.write(values)
        file.update_tags(1, **{f"class_{number}": name for number, name in enumerate(names)})


def read(path: Path, layer: RasterLayer) -> xarray.DataArray:
    """Return a layer that predict wrote: class ids (y, x) as they are, or float32 (band, y, x) with NaN where none is.

    Class ids have the attributes ``_FillValue`` and ``classes``: the classes' names by id. What has no place on the
    ground has no coordinates.
    """
    with unplaced(), open_raster(str(path)) as file:
        values, grid = file.read(), Grid(file.crs, file.transform, file.shape)
    if layer.classes is None and not np.isnan(layer.nodata):
        scaled = values * np.float32(layer.scale)
        values = np.where(values == layer.nodata, np.float32(np.nan), scaled)
    nowhere = ["x", "y", "spatial_ref"] if grid.crs is None and grid.transform.is_identity else []
    array = held(values, grid, layer.bands).drop_vars(["unit", "scale", "offset", *nowhere])
    if layer.classes is not None:
        array = array.isel(band=0, drop=True)
        array.attrs = {"_FillValue": layer.nodata, "classes": tuple(c.name for c in layer.classes)}
    return array.rename(layer.name)


def held(values: NDArray[Any], grid: Grid, names: Sequence[str]) -> xarray.DataArray:
    """Return (band, y, x) in memory as a DataArray on ``grid``."""
    bands = [Band(name=n, dtype=values.dtype.name, unit="", scale=1.0, offset=0.0, nodata=None) for n in names]
    return to_xarray(_Held(grid, tuple(bands), values.dtype, values)).load()


@dataclass(frozen=True)
class _Held:
    """Pixels in memory."""

    grid: Grid
    bands: tuple[Band, ...]
    dtype: np.dtype[Any]
    array: NDArray[Any]

    def values(self, window: Window, places: Sequence[int]) -> NDArray[Any]:
        picked: NDArray[Any] = self.array[list(places)][:, window.row : window.bottom, window.col : window.right]
        return picked


@contextmanager
def unplaced() -> Iterator[None]:
    """Let arrays and photos have no place on the ground."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
