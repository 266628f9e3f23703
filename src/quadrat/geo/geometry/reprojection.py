"""Reprojects geometries around a grid to its CRS, with longitudes modulo 360°.

A projection is continuous around a place, but not on the whole Earth: geometries that reach the far side are torn. So
geometries are cut in their own CRS, far outside of the grid, before they are projected. If a CRS repeats itself (as
longitudes after 360°, and eastings in Web Mercator), copies count, too.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj.exceptions import ProjError

from quadrat.geo.geometry.extents import Surroundings, nearest, period, surroundings, way
from quadrat.geo.geometry.parts import Geometries, parts_of, valid
from quadrat.geo.geometry.tangles import numbered
from quadrat.geo.grids.grid import Grid, system_of

if TYPE_CHECKING:
    from pyproj import CRS, Transformer


class NoPlaceError(ProjError):
    """Coordinates have no place in the other CRS."""


def brought(parts: Geometries, crs: Any, grid: Grid) -> tuple[Geometries, NDArray[np.intp]]:
    """Return single ``parts`` around a grid, in its map coordinates, and the number of each, in rising order.

    Raises ProjError if there is no transformation to the grid's CRS, NoPlaceError if it has no finite result.
    """
    system, own = system_of(crs), system_of(grid.crs)
    same = system.equals(own)
    if same and not period(own):
        return parts, np.arange(len(parts))
    here = surroundings(grid, system)
    near, owners = here.around(parts)
    if same or not near.size:
        return near, owners
    projection = _Projection(here, surroundings(grid, own), way(system, own), _step(near, here))
    moved, torn = projection.of(near)
    if torn.any():  # around a pole, or half of the Earth
        with numbered(owners[torn]):
            quarters, inner = _quartered(near[torn], system)
        again, still = projection.of(quarters)
        if still.any():
            raise NoPlaceError("it extends around more than half of the Earth")
        moved = np.concatenate([moved[~torn], again])
        owners = np.concatenate([owners[~torn], owners[torn][inner]])
        order = np.argsort(owners, kind="stable")
        moved, owners = moved[order], owners[order]
    if projection.there.period and not here.period:
        with numbered(owners):
            moved, inner = projection.there.around(moved)
        owners = owners[inner]
    return moved, owners


@dataclass(frozen=True)
class _Projection:
    """The transformation from a CRS to a grid's: the grid's extents in both, and the longest edge allowed."""

    here: Surroundings
    there: Surroundings
    transformer: "Transformer"
    step: float

    def of(self, parts: Geometries) -> tuple[Geometries, NDArray[np.bool_]]:
        """Return the projected single parts, and which of them are torn."""
        dense = shapely.segmentize(parts, self.step)
        before, owners = shapely.get_coordinates(dense, return_index=True)
        x, y = self.transformer.transform(*before.T)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise NoPlaceError("it has coordinates that are outside the other CRS")
        torn = np.zeros(len(parts), np.bool_)
        turn = self.there.period
        if turn and self.here.period:
            x = nearest(x, self.there.centre + (before[:, 0] - self.here.centre) * (turn / self.here.period), turn)
        elif turn:
            first = nearest(x[np.searchsorted(owners, np.arange(len(parts)))], self.there.centre, turn)
            x = nearest(x, first[owners], turn)
            jump = (np.abs(np.diff(x)) > turn / 2) & (np.diff(owners) == 0)
            torn[owners[1:][jump]] = True
        return np.asarray(shapely.set_coordinates(dense, np.column_stack([x, y])), object), torn


def _step(parts: Geometries, here: Surroundings) -> float:
    """Return the longest edge allowed, because an edge that is straight in one CRS is bent in another.

    It is 1/128 of the extent of the image or of all parts; an edge of this length bends by 1/16,000 as much as one over
    the whole extent. At most 4,096 pieces span all parts.
    """
    left, bottom, right, top = here.bounds
    west, south, east, north = shapely.total_bounds(parts)
    image, all_parts = max(right - left, top - bottom), max(east - west, north - south)
    return max(min(image, all_parts) / 128, all_parts / 4096) or math.inf


def _quartered(parts: Geometries, crs: "CRS") -> tuple[Geometries, NDArray[np.intp]]:
    """Return the quarters of parts around the nearest pole, without the pole itself, and the number of each."""
    globe = crs.geodetic_crs
    assert globe is not None  # PROJ can transform this CRS to longitudes
    pole = period(globe) / 4
    ends = np.column_stack(way(globe, crs).transform([0, 0], [pole, -pole]))
    poles = shapely.points(ends[np.isfinite(ends).all(1)])
    if not poles.size:
        return parts, np.arange(len(parts))
    extent = shapely.box(*shapely.total_bounds(parts))
    (centre,) = shapely.get_coordinates(poles[np.argmin(shapely.distance(poles, extent))])
    far = 2 * np.abs(shapely.bounds(parts).reshape(-1, 2) - centre).max()
    close = 1e-9 * far
    corner = np.array([(close, 0), (far, 0), (far, far), (0, far), (0, close), (close, close)])
    quarters = shapely.polygons([centre + corner * sign for sign in ((1, 1), (-1, 1), (-1, -1), (1, -1))])
    whole, owners = parts_of(parts, valid)
    each = np.tile(quarters, len(whole))
    pieces, numbers = parts_of(np.repeat(whole, 4), lambda some: shapely.intersection(some, each))
    return pieces, owners[numbers // 4]
