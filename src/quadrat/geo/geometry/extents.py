"""The extent of a grid and its surroundings in another CRS, with longitudes modulo 360°."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.geo.geometry.parts import Geometries, parts_of, valid
from quadrat.geo.grids.grid import Grid, system_of

if TYPE_CHECKING:
    from pyproj import CRS, Transformer

MARGIN = math.radians(5)
"""Smallest margin around a grid within which geometries are kept whole, as an angle on the globe."""

RADIUS = 6_378_137.0
"""Radius of the Earth, m, to convert angles to distances."""

SLACK = 0.01
"""Overlap, px, of a copy shifted by 360° that is only rounding."""

LATTICE = 33
"""Number of points per side of a grid that are projected to find its extent in another CRS."""


@dataclass(frozen=True)
class Surroundings:
    """The extent of a grid in a CRS: its ``bounds``, and ``reach``, the bounds with a margin.

    Both are left, bottom, right and top, NaN if the grid is outside the CRS. The CRS repeats itself every ``period``
    in x; 0 if it does not.
    """

    bounds: tuple[float, float, float, float]
    reach: tuple[float, float, float, float]
    centre: float
    """The x of the grid's middle."""
    period: float
    slack: float
    """Smallest overlap in x of a shifted copy with reach; global grids overlap by less, through rounding."""

    def meet(self, parts: Geometries) -> bool:
        """Return whether the bounds of all ``parts``, each shifted to its nearest place, meet the grid's."""
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
        """Return single ``parts`` cut to reach, with all shifted copies, and each one's number in rising order.

        Polygons are made valid before they are cut.
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
        """Return parts moved by ``turn`` in x and cut to reach, and the number of each."""
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
        """Return the shifts in x that may bring the interval from ``left`` to ``right`` within reach."""
        west, _, east, _ = self.reach
        if not self.period or not np.isfinite([left, right, west, east]).all():
            return [0.0]
        first, last = math.ceil((west - right) / self.period), math.floor((east - left) / self.period)
        return [turn * self.period for turn in range(first, last + 1)]


def surroundings(grid: Grid, crs: Any) -> Surroundings:
    """Return a grid's extent in a CRS (None: the grid's own); raise ProjError if there is no transformation."""
    height, width = grid.shape
    cols, rows = np.meshgrid(np.linspace(0, width, LATTICE), np.linspace(0, height, LATTICE))
    before = np.column_stack(grid.transform @ tuple(np.stack([cols.ravel(), rows.ravel()])))
    middle = len(before) // 2
    if crs is None or grid.crs is None:
        return Surroundings(_bounds(before), (-math.inf, -math.inf, math.inf, math.inf), math.nan, 0.0, 0.0)
    system, own = system_of(crs), system_of(grid.crs)
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
    """Return bounds with a margin of their own width and height, at least 5°; longitudes span at most 360°."""
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
    """Return the distance in x after which a CRS repeats itself, in its own units; 0 if it does not.

    It does if x depends only on longitude, and y only on latitude.
    """
    if crs.is_geographic:
        return 2 * math.pi / crs.axis_info[0].unit_conversion_factor
    geodetic = crs.geodetic_crs
    if not crs.is_projected or geodetic is None:
        return 0.0
    turn = period(geodetic)
    # in turns; at least one of the two triples does not cross the seam
    steps = np.array([0, 0.01, 0.02, 0.4, 0.41, 0.42])
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
    """Return x, shifted by whole turns to be nearest to ``to``."""
    moved: NDArray[np.float64] = x - turn * np.round((x - to) / turn)
    return moved


@lru_cache(256)
def way(crs: "CRS", to: "CRS") -> "Transformer":
    """Return the transformation of x and y from one CRS to another; raise ProjError if there is none.

    PROJ takes milliseconds to find it. Threads may share it.
    """
    from pyproj import Transformer

    return Transformer.from_crs(crs, to, always_xy=True)
