"""Shrinks a large area to the few pixels of a picture, in strips, so that memory does not grow with its height."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.evaluation.pictures import Picture, Pictures
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import STRIP_ROWS, Window, strips
from quadrat.geo.sources.bands import names_of
from quadrat.tasks.common.outputs import Outlines
from quadrat.tasks.common.scoring import Prediction, TaskScoring

if TYPE_CHECKING:
    from quadrat.geo.reading.open_image import Raster
    from quadrat.scenes.scene import OpenScene
    from quadrat.tasks.common.truth import Truth


@dataclass(frozen=True)
class ThumbnailGrid:
    """An area cut into blocks of ``step`` × ``step`` px, each of which becomes one pixel."""

    area: Window
    step: int

    @classmethod
    def of(cls, area: Window, size: int) -> "ThumbnailGrid":
        """Return the finest grid of blocks with no side longer than ``size``."""
        return cls(area, math.ceil(max(area.shape) / size))

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in blocks."""
        return math.ceil(self.area.height / self.step), math.ceil(self.area.width / self.step)

    def pick(self, read: Callable[[Window], NDArray[Any]]) -> NDArray[Any]:
        """Return the middle pixel of each block (y, x); ``read`` returns windows (y, x)."""
        rows = self._middles(self.area.row, self.area.bottom)
        cols = self._middles(self.area.col, self.area.right) - self.area.col
        parts = []
        for window in strips(self.area, STRIP_ROWS):
            local = rows[(rows >= window.row) & (rows < window.bottom)] - window.row
            if local.size:
                parts.append(read(window)[np.ix_(local, cols)])
        return np.concatenate(parts)

    def mean(self, raster: "Raster") -> NDArray[np.float64]:
        """Return each block's mean (band, y, x) over its valid pixels on all dates, or NaN."""
        sums, counts = np.zeros((len(names_of(raster.bands)), *self.shape)), np.zeros((1, *self.shape))
        for strip in raster.strips(self.area, raster.strip_height):
            blocks = (np.arange(strip.window.row, strip.window.bottom) - self.area.row) // self.step
            here = slice(int(blocks[0]), int(blocks[-1]) + 1)
            starts = np.flatnonzero(np.diff(blocks, prepend=-1))
            for values, seen in zip(strip.by_date, strip.seen, strict=True):
                sums[:, here] += self._sum(np.where(seen, values, 0), starts)
                counts[:, here] += self._sum(seen[None], starts)
        return np.where(counts > 0, sums, np.nan) / np.maximum(counts, 1)

    def _sum(self, values: NDArray[Any], row_starts: NDArray[np.intp]) -> NDArray[np.float64]:
        within_rows = np.add.reduceat(values, np.arange(0, self.area.width, self.step), axis=2, dtype=np.float64)
        return np.add.reduceat(within_rows, row_starts, axis=1)

    def _middles(self, start: int, stop: int) -> NDArray[np.intp]:
        return np.minimum(np.arange(start, stop, self.step) + self.step // 2, stop - 1)


def ground_width(grid: Grid, area: Window) -> float | None:
    """Return the width of a pixel at the centre of ``area``; see ``ground_sides``."""
    sides = ground_sides(grid, area)
    return None if sides is None else sides[1]


def ground_sides(grid: Grid, area: Window) -> tuple[float, float] | None:
    """Return height and width of a pixel at the centre of ``area``, m on the ellipsoid; None without a place on Earth.

    The CRS's unit is not used: it may be degrees, and metres of Web Mercator are not metres on the ground.
    """
    if not grid.on_earth:
        return None
    (metres,) = grid.metres(np.array([[area.col + area.width / 2, area.row + area.height / 2]]))
    width, height = (math.hypot(*step) for step in metres.T)
    return (height, width) if all(math.isfinite(side) and side > 0 for side in (height, width)) else None


def picture_of(
    scene: "OpenScene",
    truth: "Truth | None",
    prediction: Prediction,
    scoring: TaskScoring[Any],
    settings: Pictures,
    match: Any,
) -> Picture:
    """Return the picture of a scene, with its labels if it has some; ``match`` is the section ``eval.match``."""
    lattice = ThumbnailGrid.of(scene.area, settings.longest_side)
    width = ground_width(scene.grid, scene.area)
    outlines = scoring.outlines(truth, prediction, match)
    return Picture(
        image=lattice.mean(scene.raster),
        inside=lattice.pick(scene.inside),
        predicted=lattice.pick(partial(scoring.predicted_map, prediction)),
        truth=None if truth is None else lattice.pick(partial(scoring.label_map, truth, prediction)),
        drawn=None if outlines is None else tuple(_on_lattice(some, lattice) for some in outlines),
        side=lattice.step * (width or 1),
        unit="m" if width else "px",
    )


def _on_lattice(outlines: Outlines, lattice: ThumbnailGrid) -> Outlines:
    """Return outlines in pixels of the picture."""
    origin = (lattice.area.col, lattice.area.row)
    moved = shapely.transform(outlines.geometry, lambda xy: (xy - origin) / lattice.step)
    return replace(outlines, geometry=moved)
