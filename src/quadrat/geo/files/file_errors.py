"""Turns errors of libraries about a user's file into errors that name the file."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from quadrat.errors import ImageError, QuadratError
from quadrat.geo.grids.grid import Grid

SHOWN = 5
"""Number of rasters of a container that an error names."""


def grid_of(dataset: Any, path: str, error: type[QuadratError] = ImageError, scene: str | None = None) -> Grid:
    """Return the grid of an open raster; raise ``error`` if it has no band, or no invertible transform."""
    if not dataset.count:
        raise error(
            "the file holds several rasters, and no band of its own"
            if dataset.subdatasets
            else "the file holds no band",
            scene,
            path,
            expected="a raster with bands",
            got=listed(dataset.subdatasets) or None,
            hint="name one of them as the path in the catalog, or make a file of it: gdal_translate NAME out.tif"
            if dataset.subdatasets
            else "check the file with `gdalinfo`, and name another one in the catalog",
        )
    transform = dataset.transform
    if not math.isfinite(transform.determinant) or transform.determinant == 0 or not math.isfinite(sum(transform)):
        raise error(
            "the file's transform can't be inverted",
            scene,
            path,
            expected="finite numbers, and pixels with a width and a height",
            got=", ".join(f"{value:g}" for value in tuple(transform)[:6]),
            hint="write the right one into the file: gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM",
        )
    return Grid(dataset.crs, transform, dataset.shape)


def listed(names: Sequence[str]) -> str:
    """Return the names of a container's first rasters as one line."""
    return ", ".join([*names[:SHOWN], *[f"and {len(names) - SHOWN} more"] * (len(names) > SHOWN)])


@contextmanager
def library_errors_as(error: type[QuadratError], file: object) -> Iterator[None]:
    """Turn errors of libraries into ``error``, which names the file; let bugs pass."""
    try:
        yield
    except QuadratError:
        raise
    except Exception as cause:
        if not of_library(cause):
            raise
        raise error(
            "the file can't be processed",
            file=file,
            got=f"{type(cause).__name__}: {cause}",
            hint="check the file with `gdalinfo` or `ogrinfo`, or write it anew with `gdal_translate` or `ogr2ogr`",
        ) from cause


def of_library(error: Exception) -> bool:
    """Return whether a library or the system raised the error about a file."""
    from affine import TransformNotInvertibleError
    from pyogrio.errors import DataLayerError, DataSourceError
    from pyproj.exceptions import ProjError
    from rasterio._err import CPLE_BaseError  # what rasterio.errors leaves out
    from rasterio.errors import RasterioError
    from shapely.errors import ShapelyError

    files = OSError, UnicodeError, RasterioError, CPLE_BaseError, DataSourceError, DataLayerError
    return isinstance(error, (*files, ProjError, ShapelyError, TransformNotInvertibleError))
