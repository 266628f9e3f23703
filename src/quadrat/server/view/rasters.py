"""Draws rasters of a run: classes, values and images, from their files and the overviews in them."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.grid import Grid
from quadrat.server.blocks.blocks import Block
from quadrat.server.drawing.layers import MapLayer
from quadrat.server.drawing.png import coloured, indexed
from quadrat.server.drawing.warp import Target, shown, warped
from quadrat.tasks.common.classes import Class

Range = tuple[float, float]


@dataclass(frozen=True)
class Raster:
    """A raster of a scene."""

    path: Path
    classes: tuple[Class, ...] = ()
    """Of class ids; else there are ranges."""
    bands: tuple[int, ...] = (1,)
    """Numbers, from 1, of one band or of red, green and blue."""
    ranges: tuple[Range, ...] = ((0.0, 1.0),)
    """Of each band, the values at the ends of its colours."""
    image: bool = False

    def draw(self, target: Target) -> bytes | None:
        """Return a picture of the raster on a grid; None where it isn't."""
        with rasterio.open(self.path) as dataset:
            grid = Grid(dataset.crs, dataset.transform, dataset.shape)
            seen = None if grid.crs is None else shown(grid, target)  # a photo has no place
            if seen is None:
                return None
            part, step = seen.window, max(1, int(min(seen.across, seen.down)))
            shape = math.ceil(part.height / step), math.ceil(part.width / step)
            place = {"window": ((part.row, part.bottom), (part.col, part.right))}
            values = dataset.read(self.bands, out_shape=(len(self.bands), *shape), **place)
            valid = dataset.read_masks(self.bands[0], out_shape=shape, **place) > 0
            nodata, scale = dataset.nodata or 0, dataset.scales[0]
        corner = Affine.translation(part.col, part.row) @ Affine.scale(part.width / shape[1], part.height / shape[0])
        near = Grid(grid.crs, grid.transform @ corner, shape)
        block = Block(near.area, {"values": values, "valid": valid[None].astype(np.uint8)})
        there = warped(near, [block], "valid", 1, target, 0)[0] > 0
        return self._drawn(warped(near, [block], "values", 1, target, nodata), there, scale)

    def whole(self, most: int) -> bytes:
        """Return a picture of the whole raster on its own grid, with no side longer than ``most`` px."""
        with rasterio.open(self.path) as dataset:
            scale = max(1.0, max(dataset.shape) / most)
            height, width = (max(1, round(side / scale)) for side in dataset.shape)
            values = dataset.read(self.bands, out_shape=(len(self.bands), height, width))
            valid = dataset.read_masks(self.bands[0], out_shape=(height, width)) > 0
            return self._drawn(values, valid, dataset.scales[0])

    def at(self, row: int, col: int) -> float | None:
        """Return the value of the first band at a pixel; None without one."""
        with rasterio.open(self.path) as dataset:
            window = ((row, row + 1), (col, col + 1))
            if not dataset.read_masks(self.bands[0], window=window).any():
                return None
            return float(dataset.read(self.bands[0], window=window)[0, 0]) * float(dataset.scales[0])

    def _drawn(self, values: NDArray[Any], valid: NDArray[np.bool_], scale: float) -> bytes:
        if self.image:
            return coloured(_stretched(values, valid, self.ranges))
        if self.classes:
            layer, numbers = MapLayer("labels", "classes"), values[0].astype(np.uint8)
        else:
            layer = MapLayer("values", "values", range=self.ranges[0])
            numbers = layer.stepped(values.astype(np.float32) * scale, 0)
        return indexed(np.where(valid, numbers, np.uint8(IGNORE)), layer.palette(0, self.classes))


def _stretched(values: NDArray[Any], valid: NDArray[np.bool_], ranges: tuple[Range, ...]) -> NDArray[np.uint8]:
    low, high = (np.array(ends)[:, None, None] for ends in zip(*ranges, strict=True))
    known = valid & np.isfinite(values).all(0)
    shown = np.rint(255 * np.clip((np.nan_to_num(values) - low) / (high - low), 0, 1)).astype(np.uint8)
    pixels = np.concatenate([np.broadcast_to(shown, (3, *valid.shape)), np.full((1, *valid.shape), 255, np.uint8)])
    return np.where(known, pixels, np.uint8(0))
