"""The ground that each class of a map covers, measured on the ellipsoid for any CRS."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import STRIP_ROWS, Window, strips, tiles
from quadrat.geo.statistics.histogram import occurrences
from quadrat.runtime.files import replaced
from quadrat.scenes.scene import OpenScene
from quadrat.tasks.common.metrics import shortened
from quadrat.tasks.common.outputs import Features
from quadrat.tasks.common.scoring import Prediction

ALIKE = 1e-4
"""Largest relative difference between the sizes of pixels of a tile, of which the middle one is measured."""

TILE = 256, 4096
"""Largest height and width of a tile, px."""

LATTICE = 9
"""Pixels along each side of an area whose sizes are compared."""

HECTARE = 10_000.0
"""m²."""


@dataclass(frozen=True, eq=False)
class Areas:
    """What each class covers: number of pixels (class,), and hectares (class,) on the ground.

    Hectares are NaN for a map without a place on Earth, and for classes with pixels that are not on Earth.
    """

    pixels: NDArray[np.int64]
    hectares: NDArray[np.float64]

    @classmethod
    def none(cls, classes: int) -> Self:
        """Return those of an empty map."""
        return cls(np.zeros(classes, np.int64), np.zeros(classes))

    def __add__(self, other: Self) -> Self:
        """Return both together."""
        return type(self)(self.pixels + other.pixels, self.hectares + other.hectares)


@dataclass(frozen=True, eq=False)
class Ground:
    """The size of a pixel in tiles of an area of a grid, so that few pixels are measured."""

    tile: tuple[int, int]
    """Height and width, px."""
    first: tuple[int, int]
    """Row and column of the first tile, in tiles from the grid's corner."""
    hectares: NDArray[np.float64]
    """(row of tiles, column of tiles), of a pixel; NaN where it is not on Earth."""

    @classmethod
    def of(cls, grid: Grid, area: Window) -> Self:
        """Return the sizes for an area; for a grid without a place on Earth, one tile of NaN."""
        if not grid.on_earth:
            return cls((area.bottom, area.right), (0, 0), np.full((1, 1), np.nan))
        height, width = _alike(grid, area)
        rows = np.arange(area.row // height, -(-area.bottom // height))
        cols = np.arange(area.col // width, -(-area.right // width))
        middles = [
            (np.maximum(numbers * side, start) + np.minimum((numbers + 1) * side, end)) / 2
            for numbers, side, start, end in (
                (cols, width, area.col, area.right),
                (rows, height, area.row, area.bottom),
            )
        ]
        places = np.stack(np.meshgrid(*middles), -1)
        sizes = grid.pixel_areas(places.reshape(-1, 2)).reshape(places.shape[:2])
        return cls((height, width), (int(rows[0]), int(cols[0])), sizes / HECTARE)

    def areas(self, window: Window, ids: NDArray[np.uint8], classes: int) -> Areas:
        """Return what class ids (y, x) of a window within the area cover; IGNORE where there is none."""
        pixels, hectares = np.zeros(classes, np.int64), np.zeros(classes)
        (height, width), (top, left) = self.tile, self.first
        for part in tiles(window, height, width):
            found = occurrences(ids[part.slices(window)], classes)
            pixels += found
            size = self.hectares[part.row // height - top, part.col // width - left]
            hectares += np.where(found > 0, found * size, 0)
        return Areas(pixels, hectares)


def _alike(grid: Grid, area: Window) -> tuple[int, int]:
    """Return the height and width, px, of tiles of an area, within which pixels are about equally large."""
    rows, cols = (np.linspace(0.5, length - 0.5, LATTICE) for length in area.shape)  # of pixels' centres
    places = np.stack(np.meshgrid(cols + area.col, rows + area.row), -1)
    sizes = np.log(grid.pixel_areas(places.reshape(-1, 2)).reshape(LATTICE, LATTICE))
    sides = []
    for axis, (length, most) in enumerate(zip(area.shape, TILE, strict=True)):
        steps = np.abs(np.diff(sizes, axis=axis))
        steepest = float(np.max(steps, where=np.isfinite(steps), initial=0)) * (LATTICE - 1) / max(length - 1, 1)
        sides.append(max(1, int(min(most, ALIKE / max(steepest, ALIKE / most)))))
    return sides[0], sides[1]


class Measured:
    """A prediction whose classes are measured as its rows are read for the first time, so that none is read again."""

    def __init__(self, prediction: Prediction, layer: str, scene: OpenScene, names: Sequence[str]) -> None:
        """Measure the raster ``layer`` of class ids of ``prediction`` within the scene's AOI."""
        self._prediction, self._layer, self._scene, self._names = prediction, layer, scene, names
        self._ground = Ground.of(scene.grid, scene.area)
        self._next = scene.area.row
        self._areas = Areas.none(len(names))

    def class_ids(self, layer: str, window: Window, names: Sequence[str]) -> NDArray[np.uint8]:
        """Return what the prediction returns."""
        ids = self._prediction.class_ids(layer, window, names)
        area = self._scene.area
        if layer == self._layer and window.row == self._next and (window.col, window.width) == (area.col, area.width):
            self._areas += self._ground.areas(window, self._scene.within(window, ids), len(names))
            self._next = window.bottom
        return ids

    def values(self, layer: str, window: Window) -> NDArray[np.float32]:
        """Return what the prediction returns."""
        return self._prediction.values(layer, window)

    def features(self, layer: str, window: Window | None = None) -> Features:
        """Return what the prediction returns."""
        return self._prediction.features(layer, window)

    def drawn(self, layer: str) -> bool:
        """Return what the prediction returns."""
        return self._prediction.drawn(layer)

    def areas(self) -> Areas:
        """Return the areas of the whole scene; rows that were not read yet are read."""
        area = self._scene.area
        if self._next < area.bottom:
            rest = Window(self._next, area.col, area.bottom - self._next, area.width)
            for window in strips(rest, STRIP_ROWS):
                self.class_ids(self._layer, window, self._names)
        return self._areas


def write_areas(path: Path, names: Sequence[str], areas: Mapping[str, Areas]) -> None:
    """Write hectares and pixels of each class of each scene; hectares are empty where undefined."""
    with replaced(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["scene", "class", "hectares", "pixels"])
        for scene, one in areas.items():
            for name, hectares, pixels in zip(names, one.hectares.tolist(), one.pixels.tolist(), strict=True):
                writer.writerow([scene, name, "" if math.isnan(hectares) else shortened(hectares), pixels])
