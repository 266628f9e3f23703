"""GeoParquet files, written as a stream."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from pyproj import CRS

ROW_GROUP = 65_536
"""Features encoded at once."""


class GeoParquet:
    """A GeoParquet 1.1 file (WKB) that features are added to, written in row groups of one size."""

    def __init__(self, path: Path, crs: CRS | None, dtypes: Mapping[str, str], metadata: Mapping[str, str]) -> None:
        """Start a file of geometries in ``crs``, with fields of ``dtypes`` (numpy's; str or object for text)."""
        self._crs, self._metadata = crs, metadata
        types = [(name, _arrow_type(np.dtype(dtype))) for name, dtype in dtypes.items()]
        self.schema = pa.schema([*types, ("geometry", pa.binary())])
        self._writer = pq.ParquetWriter(path, self.schema, compression="zstd")
        self._waiting = self.schema.empty_table()
        self._kinds: set[str] = set()
        self._bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])

    @property
    def geometry_type(self) -> str:
        """The type of all geometries, or Unknown if they differ; Polygon if there are none."""
        return "Unknown" if len(self._kinds) > 1 else next(iter(self._kinds), "Polygon")

    def add(self, geometry: NDArray[np.object_], fields: Mapping[str, NDArray[Any]]) -> None:
        """Add features; polygons' shells must be counterclockwise."""
        if not len(geometry):
            return
        columns = {**fields, "geometry": shapely.to_wkb(geometry, byte_order=1)}
        if list(columns) != self.schema.names:
            raise ValueError(f"features must have the fields {self.schema.names}: {list(columns)}")
        _, firsts = np.unique(shapely.get_type_id(geometry), return_index=True)
        self._kinds.update(one.geom_type for one in geometry[firsts])
        bounds = shapely.total_bounds(geometry)
        self._bounds = np.append(np.minimum(self._bounds, bounds)[:2], np.maximum(self._bounds, bounds)[2:])
        self._waiting = pa.concat_tables([self._waiting, pa.table(columns, schema=self.schema)])
        while self._waiting.num_rows >= ROW_GROUP:
            self._write(ROW_GROUP)

    def close(self) -> None:
        """Write the remaining features and the metadata."""
        if self._waiting.num_rows:
            self._write(self._waiting.num_rows)
        column: dict[str, Any] = {
            "encoding": "WKB",
            "geometry_types": sorted(self._kinds),
            "crs": None if self._crs is None else self._crs.to_json_dict(),
            "orientation": "counterclockwise",
        }
        if self._kinds:
            column["bbox"] = self._bounds.tolist()
        geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
        self._writer.add_key_value_metadata({**self._metadata, "geo": json.dumps(geo)})
        self._writer.close()

    def abandon(self) -> None:
        """Close the file, even if it is incomplete."""
        if self._writer.is_open:
            with suppress(OSError, pa.ArrowException):
                self._writer.close()
            self._writer.is_open = False  # else it would try again when it is garbage-collected

    def _write(self, count: int) -> None:
        # one chunk each, so that the bytes do not depend on how the features were added
        self._writer.write_table(self._waiting.slice(0, count).combine_chunks(), row_group_size=ROW_GROUP)
        self._waiting = self._waiting.slice(count)


def _arrow_type(dtype: np.dtype[Any]) -> Any:
    return pa.string() if dtype.kind in "OSU" else pa.from_numpy_dtype(dtype)
