"""The GeoPackage of a project: what QGIS can't read where it lies, or what is nowhere yet."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from quadrat.geo.grids.grid import Grid
from quadrat.prediction.geoparquet import ROW_GROUP
from quadrat.qgis.document import Bounds

Geometries = NDArray[Any]


class Tables:
    """Writes tables of areas to one GeoPackage."""

    def __init__(self, path: Path) -> None:
        """Write to ``path``; the file appears with the first table."""
        self._path = path

    def source(self, table: str, where: str = "") -> str:
        """Return the source of a table for QGIS; ``where`` is a condition in SQL."""
        filtered = f"|subset={where}" if where else ""
        return f"./{self._path.name}|layername={table}{filtered}"

    def add(self, table: str, grid: Grid, geometry: Geometries, fields: Mapping[str, NDArray[Any]]) -> Bounds | None:
        """Write geometries in pixel coordinates of ``grid``; return their bounds, None if there are none.

        Without a CRS and a transform, rows count downwards, as QGIS counts those of a photo.
        """
        place = grid.transform
        if grid.crs is None and place == Affine.identity():
            place = Affine.scale(1, -1)
        moved = shapely.transform(np.asarray(geometry, object), lambda xy: _placed(place, xy))
        frame = geopandas.GeoDataFrame(dict(fields), geometry=moved, crs=grid.crs and CRS.from_user_input(grid.crs))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)  # a scene may have no CRS
            pyogrio.write_dataframe(frame, self._path, layer=table, driver="GPKG", geometry_type=_type(moved))
        return _bounds(moved)

    def copy(self, table: str, path: Path) -> None:
        """Write the features of a GeoParquet file, in row groups, so that memory does not grow with the file."""
        with pq.ParquetFile(path) as file, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
            about = json.loads(file.metadata.metadata[b"geo"])
            column = about["columns"][about["primary_column"]]
            kinds = column["geometry_types"]
            pyogrio.write_arrow(
                pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(ROW_GROUP)),
                self._path,
                layer=table,
                driver="GPKG",
                geometry_name=about["primary_column"],
                geometry_type=kinds[0] if len(kinds) == 1 else "Unknown",
                crs=_wkt(column.get("crs", "OGC:CRS84")),
            )


def _placed(place: Affine, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c, d, e, f = tuple(place)[:6]
    moved: NDArray[np.float64] = xy @ np.array([[a, d], [b, e]]) + (c, f)
    return moved


def _bounds(geometry: Geometries) -> Bounds | None:
    found = shapely.total_bounds(geometry)
    return None if np.isnan(found).any() else (found[0], found[1], found[2], found[3])


def _type(geometry: Geometries) -> str:
    kinds = {one.geom_type for one in geometry if one is not None}
    return kinds.pop() if len(kinds) == 1 else "Unknown" if kinds else "Polygon"


def _wkt(crs: Any) -> str | None:
    return None if crs is None else str(CRS.from_user_input(crs).to_wkt())
