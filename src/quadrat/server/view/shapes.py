"""Objects and areas of a run as GeoJSON."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.geo.geometry.footprints import on_earth
from quadrat.geo.grids.grid import Grid

MOST = 20_000
"""Objects of a layer that a page can draw; of more, the first."""


def geojson(grid: Grid, geometry: NDArray[Any], fields: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return geometries in pixel coordinates, with their fields, as GeoJSON; none without a place on Earth."""
    some = np.asarray(geometry, object)[:MOST]
    if not len(some) or grid.crs is None:
        return {"type": "FeatureCollection", "features": []}
    a, b, c, d, e, f = tuple(grid.transform)[:6]
    moved = shapely.transform(shapely.force_2d(some), lambda xy: xy @ np.array([[a, d], [b, e]]) + (c, f))
    placed = shapely.orient_polygons(on_earth(np.asarray(moved, object), grid.crs))
    names = [name for name in fields if name in {"class", "kind", "score", "split"}]
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(shape),
            "properties": {name: _plain(fields[name][number]) for name in names},
        }
        for number, shape in enumerate(placed)
    ]
    return {"type": "FeatureCollection", "features": features}


def _plain(value: Any) -> Any:
    return round(float(value), 4) if isinstance(value, (float, np.floating)) else str(value)
