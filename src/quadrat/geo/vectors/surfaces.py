"""Reads surfaces of patches as polygons."""

from typing import TYPE_CHECKING

import shapely

from quadrat.geo.geometry.wkb import of_polygons
from quadrat.geo.vectors.vector_files import opening

if TYPE_CHECKING:
    import geopandas


def read_surfaces(path: str, layer: str | None) -> "geopandas.GeoDataFrame":
    """Return the features of a file with surfaces; each patch becomes a polygon, because shapely has no surfaces."""
    import geopandas
    import pyogrio

    with opening(path) as name:
        about, _, geometry, _ = pyogrio.raw.read(name, layer=layer)
        fields = pyogrio.read_dataframe(name, layer=layer, read_geometry=False)
    plain = [None if one is None else of_polygons(one) for one in geometry]
    return geopandas.GeoDataFrame(fields, geometry=shapely.from_wkb(plain), crs=about["crs"])
