"""Splits collections into single points, lines and polygons."""

from collections.abc import Callable

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.geo.geometry.tangles import check_jagged, check_tangled

Geometries = NDArray[np.object_]


def parts_of(geometry: Geometries, change: Callable[[Geometries], Geometries]) -> tuple[Geometries, NDArray[np.intp]]:
    """Apply ``change`` to each part; return the resulting single points, lines and polygons, and the number of each.

    A polygon gives only polygons, because a border has no area.
    """
    parts, owners = single(geometry)
    areal = is_polygon(parts)
    parts, inner = single(change(parts))
    kept = is_polygon(parts) | ~areal[inner]
    return parts[kept], owners[inner][kept]


def single(geometry: Geometries) -> tuple[Geometries, NDArray[np.intp]]:
    """Return the single points, lines and polygons of geometries, without empty ones, and the number of each."""
    owners = np.arange(len(geometry))
    while (shapely.get_type_id(geometry) >= shapely.GeometryType.MULTIPOINT).any():  # collections may hold collections
        geometry, inner = shapely.get_parts(geometry, return_index=True)
        owners = owners[inner]
    some = ~shapely.is_empty(geometry)
    return geometry[some], owners[some]


def is_polygon(geometry: Geometries) -> NDArray[np.bool_]:
    """Return which geometries are single polygons."""
    found: NDArray[np.bool_] = shapely.get_type_id(geometry) == shapely.GeometryType.POLYGON
    return found


def valid(geometry: Geometries, numbers: NDArray[np.intp] | None = None) -> Geometries:
    """Return the geometries, with invalid ones made valid.

    Raises TangledError, which names one of ``numbers`` (default: the geometry's own), if that would take minutes.
    """
    numbers = np.arange(len(geometry)) if numbers is None else numbers
    check_jagged(geometry, numbers)
    broken = np.flatnonzero(~shapely.is_valid(geometry))
    check_tangled(geometry[broken], numbers[broken])
    geometry[broken] = shapely.make_valid(geometry[broken])
    return geometry


def without_area(geometry: Geometries) -> NDArray[np.bool_]:
    """Return which geometries are or hold polygons that become empty when they are made valid."""
    flat = np.asarray((shapely.get_dimensions(geometry) == 2) & (shapely.area(geometry) == 0))
    some = np.flatnonzero(flat)  # a figure of eight also has an area of 0 until it is made valid
    _, owners = parts_of(geometry[some], valid)
    flat[some[owners]] = False
    return flat


def cut(geometry: Geometries, frame: shapely.Polygon) -> Geometries:
    """Return valid geometries, cut to a frame."""
    over = ~shapely.covered_by(geometry, frame)
    geometry[over] = shapely.intersection(geometry[over], frame)
    return geometry
