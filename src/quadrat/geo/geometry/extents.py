"""The extent of a grid and its surroundings in another CRS, with longitudes modulo 360°."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.geo.geometry.parts import Geometries, parts_of, valid
from quadrat.geo.grids.grid import Grid

if TYPE_CHECKING:
    from pyproj import CRS, Transformer

MARGIN = math.radians(5)
"""How far around a grid, at least, geometries are whole: on the globe, as an angle."""

RADIUS = 6_378_137.0
"""Of the Earth, in m: what makes a distance of an angle."""

SLACK = 0.01
"""Px of a copy, after a turn around the Earth, that are rounding."""

LATTICE = 33
"""Points along each side of a grid that tell where it lies in another CRS."""


@dataclass(frozen=True)
class Surroundings:
    """Where a grid lies in a CRS: ``bounds`` are its own, ``reach`` those of what is looked at around it.

    Both are left, bottom, right and top, NaN if the CRS has no place for the grid. After ``period`` in x the CRS
    repeats itself; 0 where it doesn't.
    """

    bounds: tuple[float, float, float, float]
    reach: tuple[float, float, float, float]
    centre: float
    """The x of the grid's middle."""
    period: float
    slack: float
    """How far, in x, a copy must lie within reach: what is less is rounding, as grids of all longitudes have it."""

    def meet(self, parts: Geometries) -> bool:
        """Return whether the bounds of all ``parts`` together, each where it is nearest, meet the grid's."""
        left, bottom, right, top = shapely.bounds(parts).reshape(-1, 4).T
        middle = (left + right) / 2
        moved = nearest(middle, self.centre, self.period) - middle if self.period else 0
        west, south, east, north = self.bounds
        return bool(
            (left + moved).min() <= east
            and (right + moved).max() >= west
            and bottom.min() <= north
            and top.max() >= south
        )

    def around(self, parts: Geometries) -> tuple[Geometries, NDArray[np.intp]]:
        """Return what of single ``parts`` is within reach, at each place where it is, and the number of each, rising.

        Parts that reach over it are cut, and polygons among them made valid before.
        """
        bounds = shapely.bounds(parts).reshape(-1, 4)
        left, right = bounds[:, 0].min(initial=np.inf), bounds[:, 2].max(initial=-np.inf)
        found = [self._within_reach(parts, bounds, turn) for turn in self._turns(left, right)]
        near = np.concatenate([np.empty(0, object), *(some for some, _ in found)])
        numbers = np.concatenate([np.empty(0, np.intp), *(some for _, some in found)])
        order = np.argsort(numbers, kind="stable")
        return near[order], numbers[order]

    def _within_reach(
        self, parts: Geometries, bounds: NDArray[np.float64], turn: float
    ) -> tuple[Geometries, NDArray[np.intp]]:
        """Return what of parts is within reach when they are moved by ``turn`` in x, and the number of each."""
        low, high = np.array(self.reach[:2]), np.array(self.reach[2:])
        first, last = bounds[:, :2] + (turn, 0), bounds[:, 2:] + (turn, 0)
        slack = np.array([self.slack, 0]) if turn else 0
        met = np.all((first <= high - slack) & (last >= low + slack), axis=1)
        over = np.any((first < low) | (last > high), axis=1)[met]
        near = shapely.transform(parts[met], lambda xy: xy + np.array([turn, 0])) if turn else parts[met]
        if not over.any():
            return near, np.flatnonzero(met)

        def cut(some: Geometries) -> Geometries:
            some[over] = shapely.intersection(valid(some[over], np.flatnonzero(met)[over]), shapely.box(*self.reach))
            return some

        near, inner = parts_of(near, cut)
        return near, np.flatnonzero(met)[inner]

    def _turns(self, left: float, right: float) -> list[float]:
        """Return by how much in x what lies between ``left`` and ``right`` is moved so that it may be within reach."""
        west, _, east, _ = self.reach
        if not self.period or not np.isfinite([left, right, west, east]).all():
            return [0.0]
        first, last = math.ceil((west - right) / self.period), math.floor((east - left) / self.period)
        return [turn * self.period for turn in range(first, last + 1)]


def surroundings(grid: Grid, crs: Any) -> Surroundings:
    """Return where a grid lies in a CRS (None: the grid's own); raise ProjError if no way is known."""
    from pyproj import CRS

    height, width = grid.shape
    cols, rows = np.meshgrid(np.linspace(0, width, LATTICE), np.linspace(0, height, LATTICE))
    before = np.column_stack(grid.transform @ tuple(np.stack([cols.ravel(), rows.ravel()])))
    middle = len(before) // 2
    if crs is None or grid.crs is None:
        return Surroundings(_bounds(before), (-math.inf, -math.inf, math.inf, math.inf), math.nan, 0.0, 0.0)
    system, own = CRS.from_user_input(crs), CRS.from_user_input(grid.crs)
    turn, points = period(system), before
    if not system.equals(own):
        points = np.column_stack(way(own, system).transform(*before.T))
        placed = np.isfinite(points).all(1)
        if not placed.any():
            return Surroundings((math.nan,) * 4, (math.nan,) * 4, math.nan, turn, 0.0)
        middle = middle if placed[middle] else int(np.argmax(placed))
        if turn:
            turns = (before[:, 0] - before[middle, 0]) / (period(own) or math.inf)
            points[:, 0] = nearest(points[:, 0], points[middle, 0] + turns * turn, turn)
    centre = float(points[middle, 0])
    bounds = _bounds(points[np.isfinite(points).all(1)])
    slack = SLACK * (bounds[2] - bounds[0]) / width
    return Surroundings(bounds, _reach(bounds, system, turn), centre, turn, slack)


def _bounds(points: NDArray[np.float64]) -> tuple[float, float, float, float]:
    (left, bottom), (right, top) = points.min(0).tolist(), points.max(0).tolist()
    return left, bottom, right, top


def _reach(bounds: tuple[float, float, float, float], crs: "CRS", turn: float) -> tuple[float, float, float, float]:
    """Return bounds with a margin: in x and y as wide as they are, and 5° at least; of longitudes, no more than all."""
    left, bottom, right, top = bounds
    least = _units(crs, MARGIN)
    sideways, upward = max(right - left, least), max(top - bottom, least)
    bottom, top = bottom - upward, top + upward
    if crs.is_geographic:
        pole = turn / 4
        sideways = math.inf if top >= pole or bottom <= -pole else sideways  # around a pole, all longitudes are near
        bottom, top = max(bottom, -pole), min(top, pole)
    if turn:
        sideways = min(sideways, max(0.0, (turn - (right - left)) / 2))
    return left - sideways, bottom, right + sideways, top


def _units(crs: "CRS", angle: float) -> float:
    """Return an angle on the globe in units of the CRS."""
    axes = crs.axis_info
    factor = axes[0].unit_conversion_factor if axes else 1.0
    return angle / factor if crs.is_geographic else angle * RADIUS / factor


@lru_cache
def period(crs: "CRS") -> float:
    """Return after what distance in x a CRS repeats itself, in its own units; 0 where it doesn't.

    It does where longitude alone gives x, and latitude alone y.
    """
    if crs.is_geographic:
        return 2 * math.pi / crs.axis_info[0].unit_conversion_factor
    geodetic = crs.geodetic_crs
    if not crs.is_projected or geodetic is None:
        return 0.0
    turn = period(geodetic)
    steps = np.array([0, 0.01, 0.02, 0.4, 0.41, 0.42])  # of a turn; one of the two triples has no seam in it
    longitudes, latitudes = np.meshgrid(turn * steps, [0, turn / 10])
    x, y = way(geodetic, crs).transform(longitudes, latitudes)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return 0.0
    across = np.median(np.diff(x[0]))
    near = 1e-6 * abs(across)
    straight = np.ptp(x, axis=0).max() < near and np.ptp(y, axis=1).max() < near
    even = (np.abs(np.diff(x[0])[[0, 1, 3, 4]] - across) < near).sum() >= 2
    return float(100 * abs(across)) if straight and even else 0.0


def nearest(x: NDArray[np.float64], to: Any, turn: float) -> NDArray[np.float64]:
    """Return x, moved by whole turns to where it is nearest to ``to``."""
    moved: NDArray[np.float64] = x - turn * np.round((x - to) / turn)
    return moved


def way(crs: "CRS", to: "CRS") -> "Transformer":
    """Return what takes x and y from one CRS to another; raise ProjError if nothing does."""
    from pyproj import Transformer

    return Transformer.from_crs(crs, to, always_xy=True)
