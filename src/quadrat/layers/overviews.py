"""Overviews of maps of classes: each pixel the class that most of the four below it have."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window as RasterioWindow

from quadrat.windows import Window, strips, whole

ROWS = 64
"""Rows that are halved at once: what is made of them stays in the processor's cache."""


def write_overviews(path: Path, block: int, options: Mapping[str, Any]) -> None:
    """Write overviews of the one band of bytes at ``path``, each of half the size, until one fits a ``block`` (px).

    They lie where GDAL looks for them, as ``<path>.ovr``, ``<path>.ovr.ovr`` and so on, as GeoTIFFs made with
    ``options``. GDAL's own way to the mode takes several times as long.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # an overview has the place of what it is of
        half: Path | None = path
        while half is not None:
            half = _half(half, block, options)


def _half(path: Path, block: int, options: Mapping[str, Any]) -> Path | None:
    """Write the overview of a raster; None where it fits a block."""
    with rasterio.open(path) as source:
        if max(source.shape) <= block:
            return None
        height, width = (-(-side // 2) for side in source.shape)
        shape = {"height": height, "width": width, "count": 1, "dtype": "uint8", "nodata": source.nodata}
        half = path.with_name(f"{path.name}.ovr")
        with rasterio.open(half, "w", driver="GTiff", **shape, **options) as overview:
            for strip in strips(whole(source.shape), 2 * block):
                values = source.read(1, window=_area(strip))
                row = strip.row // 2
                rows = Window(row, 0, min(row + block, height) - row, width)
                overview.write(majority(values, int(source.nodata)), 1, window=_area(rows))
    return half


def majority(values: NDArray[np.uint8], nodata: int) -> NDArray[np.uint8]:
    """Return of each 2 × 2 px of ``values`` (y, x) the value that is there most often, the first of several such.

    ``nodata`` counts only where there is nothing else. Of an odd number of rows or columns, the last stand alone.
    """
    return np.concatenate([_majority(values[row : row + ROWS], nodata) for row in range(0, len(values), ROWS)])


def _majority(values: NDArray[np.uint8], nodata: int) -> NDArray[np.uint8]:
    height, width = values.shape
    if height % 2 or width % 2:
        values = np.pad(values, ((0, height % 2), (0, width % 2)), constant_values=nodata)
    a, b, c, d = (np.ascontiguousarray(values[row::2, col::2]) for row in (0, 1) for col in (0, 1))
    some_missing = bool((values == nodata).any())
    found = a.copy()
    if some_missing:  # where no two are alike, the first that has a value
        for corner in (b, c, d):
            np.copyto(found, corner, where=found == nodata)
    for corner, after in ((c, (d,)), (b, (c, d)), (a, (b, c, d))):  # of two pairs, the one that begins first is last
        often = corner == after[0]
        for other in after[1:]:
            often |= corner == other
        if some_missing:
            often &= corner != nodata
        np.copyto(found, corner, where=often)
    return found


def _area(window: Window) -> Any:
    return RasterioWindow(window.col, window.row, window.width, window.height)
