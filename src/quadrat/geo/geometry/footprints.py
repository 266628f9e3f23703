"""Footprints: areas in longitude and latitude (WGS 84), cut at 180° as in GeoJSON (RFC 7946, 3.1.9)."""

from typing import Any

import numpy as np
import shapely

from quadrat.geo.geometry.extents import way
from quadrat.geo.geometry.parts import Geometries, single, valid
from quadrat.geo.grids.grid import Grid, system_of

EARTH = 4326
"""The CRS of footprints."""

PIECES = 32
"""Longest edge of an area that crosses 180° or contains a pole, as a share of its extent."""


def on_earth(areas: Geometries, crs: Any) -> Geometries:
    """Return the footprints of polygons or multipolygons in a CRS that has a place on Earth."""
    system = system_of(crs)
    points, owners = shapely.get_coordinates(areas, return_index=True)
    x, y = way(system, system_of(EARTH)).transform(*points.T)
    found = np.asarray(shapely.set_coordinates(areas.copy(), np.column_stack([x, y])), object)
    whole = np.isfinite(x) & np.isfinite(y)
    x = np.where(whole, x, 0)
    jump = (np.abs(np.diff(x)) > 180) & (np.diff(owners) == 0) & whole[1:] & whole[:-1]
    over = np.unique([*owners[np.abs(x) > 180], *owners[1:][jump]]).astype(np.intp)
    if over.size:
        found[over] = _cut(areas[over], system)
    return found


def _cut(areas: Geometries, crs: Any) -> Geometries:
    """Return the footprints of areas that cross 180° or contain a pole."""
    from quadrat.geo.geometry.reprojection import brought

    size = shapely.bounds(areas)
    dense = shapely.segmentize(areas, (size[:, 2:] - size[:, :2]).max(1) / PIECES)
    parts, owners = single(np.asarray(dense, object))
    pieces, inner = brought(parts, crs, _earth())
    near = shapely.transform(pieces, lambda points: np.clip(points, (-180, -90), (180, 90)))
    numbers = owners[inner]
    found = np.empty(len(areas), object)
    found[:] = [shapely.union_all(valid(near[numbers == number])) for number in range(len(areas))]
    return found


def _earth() -> Grid:
    """Return a grid of all longitudes and latitudes, fine enough that areas lose nothing to rounding."""
    from affine import Affine
    from rasterio.crs import CRS

    return Grid(CRS.from_epsg(EARTH), Affine(1e-6, 0, -180, 0, -1e-6, 90), (180_000_000, 360_000_000))
