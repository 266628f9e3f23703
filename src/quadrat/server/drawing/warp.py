"""From the grid of an image to that of a tile, by the nearest pixel."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import Resampling, reproject

from quadrat.geo.geometry.extents import way
from quadrat.geo.grids.grid import Grid, system_of
from quadrat.geo.grids.windows import Window
from quadrat.server.blocks.blocks import Block

POINTS = 17
"""Points by side of a tile whose places on the image are looked up, to find what the tile shows."""

AROUND = 2
"""Px around that, as it may bulge between the points."""

INSET = 1e-3
"""Px by which the outer points lie inside: on 180°, one can't tell on which side of the Earth they are."""

TURN = 360.0
"""Degrees around the Earth."""

PLANE = CRS.from_epsg(3857)
"""Stands for that of an image without one, which is only drawn on its own grid."""


@dataclass(frozen=True)
class Target:
    """The grid of a tile or a picture."""

    crs: CRS | None
    transform: Affine
    height: int
    width: int

    @classmethod
    def of(cls, crs: CRS, bounds: Sequence[float], height: int, width: int) -> "Target":
        """Return the grid of ``bounds``: left, bottom, right, top."""
        left, bottom, right, top = bounds
        across, down = (right - left) / width, (top - bottom) / height
        return cls(crs, Affine(across, 0, left, 0, -down, top), height, width)

    @cached_property
    def key(self) -> tuple[object, ...]:
        """What stands for it; the hash of a CRS takes as long as a tile from memory."""
        return None if self.crs is None else self.crs.to_wkt(), *self.transform, self.height, self.width

    @property
    def grid(self) -> Grid:
        """It as a grid."""
        return Grid(self.crs, self.transform, (self.height, self.width))

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top."""
        left, top = self.transform @ (0, 0)
        right, bottom = self.transform @ (self.width, self.height)
        return left, bottom, right, top


@dataclass(frozen=True)
class Shown:
    """What of an image a target shows: a window of its grid, and how wide and high the target's px are in its px."""

    window: Window
    across: float
    down: float

    def step(self, side: int) -> int:
        """Return the power of two by which blocks of ``side`` px are thinned out."""
        step = 1
        while step * 2 <= min(self.across, self.down) and side % (step * 2) == 0:
            step *= 2
        return step


def shown(grid: Grid, target: Target) -> Shown | None:
    """Return what of a grid with a CRS a target shows; None if nothing."""
    cols, rows = np.meshgrid(*(np.linspace(INSET, side - INSET, POINTS) for side in (target.width, target.height)))
    places = moved(np.column_stack([cols.ravel(), rows.ravel()]), target.transform, target.crs, grid)
    known = np.isfinite(places).all(1)
    if not known.any():
        return None
    some = np.clip(places[known], -(2.0**40), 2.0**40)
    low, high = np.floor(some.min(0)).astype(int) - AROUND, np.ceil(some.max(0)).astype(int) + AROUND
    apart = places.reshape(POINTS, POINTS, 2)
    across, down = _scale(np.diff(apart, axis=1), target.width), _scale(np.diff(apart, axis=0), target.height)
    inside = Window(int(low[1]), int(low[0]), int(high[1] - low[1]), int(high[0] - low[0])).intersection(grid.area)
    return None if inside is None else Shown(inside, across, down)


def _scale(steps: NDArray[np.float64], side: int) -> float:
    """Return px of the image per px of a target of ``side`` px, the median of the ``steps`` (…, 2) that are known."""
    every = np.linalg.norm(steps, axis=-1).ravel() * ((POINTS - 1) / (side - 2 * INSET))
    every = every[np.isfinite(every)]
    return float(np.median(every)) if every.size else 1.0


def moved(points: NDArray[np.float64], there: Affine, crs: CRS | None, grid: Grid) -> NDArray[np.float64]:
    """Return points (point, 2), columns and rows of a grid ``there`` in a CRS, as px of ``grid``; NaN if nowhere."""
    x, y = applied(there, points).T
    return placed(x, y, crs, grid)


def placed(x: NDArray[np.float64], y: NDArray[np.float64], crs: CRS | None, grid: Grid) -> NDArray[np.float64]:
    """Return points of a CRS as px (point, 2) of ``grid``: column, row; NaN where there is no place."""
    if crs is not None and grid.crs is not None and crs != grid.crs:
        there = way(system_of(crs), system_of(grid.crs)).transform(x, y)
        x, y = (np.where(np.isfinite(values), values, np.nan) for values in there)
    if grid.crs is not None and grid.crs.is_geographic:  # a grid of longitudes may go beyond 180°
        (middle, _), *_ = applied(grid.transform, np.array([[grid.shape[1] / 2, grid.shape[0] / 2]]))
        x = x - TURN * np.round((x - middle) / TURN)
    return applied(~grid.transform, np.column_stack([x, y]))


def applied(transform_: Affine, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points (point, 2) put where a transform says."""
    a, b, c, d, e, f = tuple(transform_)[:6]
    x, y = points.T
    return np.column_stack([a * x + b * y + c, d * x + e * y + f])


def warped(grid: Grid, blocks: Sequence[Block], name: str, step: int, target: Target, nodata: float) -> NDArray[Any]:
    """Return the arrays ``name`` (band, y, x) of blocks on the target, every ``step``-th px of theirs, ``nodata`` else.

    At a step of 1, each px of the target has the value of the px of the image that holds its centre.
    """
    top, left = min(b.window.row for b in blocks), min(b.window.col for b in blocks)
    bottom, right = max(b.window.bottom for b in blocks), max(b.window.right for b in blocks)
    first = blocks[0].arrays[name]
    shape = len(first), -(-(bottom - top) // step), -(-(right - left) // step)
    whole = np.full(shape, nodata, first.dtype)
    for block in blocks:
        thin = block.arrays[name][:, step // 2 :: step, step // 2 :: step]
        row, col = (block.window.row - top) // step, (block.window.col - left) // step
        whole[:, row : row + thin.shape[1], col : col + thin.shape[2]] = thin
    made = np.full((len(whole), target.height, target.width), nodata, whole.dtype)
    reproject(
        whole,
        made,
        src_transform=grid.transform @ Affine.translation(left, top) @ Affine.scale(step),
        src_crs=grid.crs or PLANE,
        src_nodata=nodata,
        dst_transform=target.transform,
        dst_crs=target.crs or PLANE,
        dst_nodata=nodata,
        init_dest_nodata=True,
        resampling=Resampling.nearest,
        tolerance=0,  # exact places, not those between a few
    )
    return made
