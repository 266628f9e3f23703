"""Vector layers as GeoParquet, GeoPackage, FlatGeobuf or GeoJSON."""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS, Proj, Transformer

from quadrat.errors import ParamsError, QuadratError
from quadrat.files import replaced
from quadrat.layers.geoparquet import ROW_GROUP, GeoParquet
from quadrat.scenes.grid import Grid
from quadrat.tasks.outputs import Features, VectorLayer

DRIVERS = {".parquet": "Parquet", ".gpkg": "GPKG", ".fgb": "FlatGeobuf", ".geojson": "GeoJSON"}
"""GDAL's names of the formats, by the file's ending."""

DATE = "2000-01-01T00:00:00Z"
"""When a GeoPackage says it was written: always then, so that the same features give the same bytes."""


class VectorWriter:
    """Writes a vector layer to ``path``, whole or not at all; a context manager.

    Features are brought to map coordinates (shells counterclockwise) and streamed into GeoParquet; another format is
    made of that at a good end, as a stream again, so memory is bounded by the row group. The same features give the
    same bytes, however they are cut into ``Features``. Those with a field ``pixels`` get a field ``area``: see
    ``areas``.

    GeoJSON is in WGS 84 (RFC 7946), to 1e-9 degrees; edges are not densified, so that where straight lines of the
    grid's CRS are curves in WGS 84, long edges move a little. On a grid without a CRS, no format has one, and the
    coordinates are those of the grid's transform: px, mostly. Mind that readers of GeoJSON take them for degrees.
    """

    def __init__(
        self,
        layer: VectorLayer,
        grid: Grid,
        path: Path,
        metadata: Mapping[str, str],
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """Write ``layer`` on ``grid``; raise ParamsError for an ending that stands for no format.

        ``metadata`` becomes the file's (in GeoJSON, its description). ``fields`` are the names and numpy dtypes
        (``str`` for text) of the features' fields; None: those of the first ``Features``, which may be empty.
        """
        if path.suffix not in DRIVERS:
            raise ParamsError(
                f"the ending of the layer {layer.name} stands for no vector format",
                file=layer.file,
                expected=", ".join(DRIVERS),
                got=path.suffix or "none",
                mend="give the file one of these endings",
            )
        self._layer, self._grid, self._path, self._metadata = layer, grid, path, dict(metadata)
        self._driver, self._fields = DRIVERS[path.suffix], fields
        self._spool = path.with_name(f".features-{path.name}")
        self._crs = None if grid.crs is None else CRS.from_user_input(grid.crs)
        self._to_wgs84: Transformer | None = None
        if self._driver == "GeoJSON" and self._crs is not None:
            wgs84 = CRS.from_epsg(4326)
            self._to_wgs84, self._crs = Transformer.from_crs(self._crs, wgs84, always_xy=True), wgs84
        self._features: GeoParquet | None = None
        self._steps = ExitStack()

    def __enter__(self) -> Self:
        """Prepare the file."""
        with ExitStack() as steps:
            self._part = steps.enter_context(replaced(self._path))
            steps.callback(self._spool.unlink, missing_ok=True)
            steps.callback(self._let_go)
            steps.push(self._finish)
            if self._fields is not None:
                self._open(self._fields)
            self._steps = steps.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file, or after an exception leave nothing of it."""
        self._steps.__exit__(kind, error, trace)

    def write(self, features: Features) -> None:
        """Write ``features``; all have the same fields."""
        opened = self._features or self._open({name: str(v.dtype) for name, v in features.fields.items()})
        geometry = _moved(features.geometry, lambda x, y: self._grid.transform @ (x, y))
        fields = dict(features.fields)
        if "pixels" in fields:
            fields["area"] = areas(self._grid, geometry, shapely.area(features.geometry))
        if self._to_wgs84 is not None:
            geometry = _moved(geometry, self._to_wgs84.transform)
        with self._named():
            opened.add(shapely.orient_polygons(geometry), fields)

    def _open(self, fields: Mapping[str, str]) -> GeoParquet:
        dtypes = {**fields, "area": "float64"} if "pixels" in fields else fields
        self._features = GeoParquet(self._spool, self._crs, dtypes, self._metadata)
        return self._features

    def _finish(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        if self._features is None:
            raise ValueError(f"the fields of the layer {self._layer.name} are unknown: write features, if only none")
        with self._named():
            self._features.close()
            if self._driver == "Parquet":
                self._spool.rename(self._part)
            else:
                self._convert(self._features)

    def _let_go(self) -> None:
        if self._features is not None:
            self._features.abandon()

    def _convert(self, features: GeoParquet) -> None:
        options: dict[str, str] = {}
        if self._driver == "GeoJSON":
            options["DESCRIPTION"] = json.dumps(self._metadata)
            if self._crs is not None:
                options.update(RFC7946="YES", COORDINATE_PRECISION="9")
        with pq.ParquetFile(self._spool) as source, _dated(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)  # a scene may have no CRS
            pyogrio.write_arrow(
                pa.RecordBatchReader.from_batches(features.schema, source.iter_batches(ROW_GROUP)),
                self._part,
                layer=self._layer.name,
                driver=self._driver,
                geometry_name="geometry",
                geometry_type=features.geometry_type,
                crs=None if self._crs is None else self._crs.to_wkt(),
                layer_metadata=self._metadata,
                layer_options=options,
            )

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Let what goes wrong name the layer and the file."""
        try:
            yield
        except (OSError, pa.ArrowException, DataSourceError, DataLayerError) as error:
            raise QuadratError(
                f"the layer {self._layer.name} could not be written whole",
                file=self._path,
                got=error,
                mend="check that the disk has room, and run again",
            ) from error


def areas(grid: Grid, geometry: NDArray[np.object_], pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the areas (n,) of features as they are drawn: in m², or in px² where the grid has no CRS.

    ``geometry`` (n,) is in map coordinates, ``pixels`` (n,) are the areas in px². In a projected CRS, areas are
    those of its plane. On geographic coordinates they are those on the ellipsoid, between meridians and parallels:
    in Lambert's cylindrical equal-area projection both are straight lines, as the pixels' edges are.
    """
    if grid.crs is None or not grid.crs.is_geographic:
        return pixels * grid.gsd**2
    ellipsoid = CRS.from_user_input(grid.crs).ellipsoid
    assert ellipsoid is not None  # a geographic CRS has one
    middle, _ = grid.transform @ (grid.shape[1] / 2, grid.shape[0] / 2)
    equal_area = Proj(proj="cea", a=ellipsoid.semi_major_metre, b=ellipsoid.semi_minor_metre, lon_0=middle)
    on_plane = _moved(geometry, lambda lon, lat: equal_area(lon, np.clip(lat, -90, 90)))
    found: NDArray[np.float64] = shapely.area(on_plane)
    return found


def _moved(geometry: NDArray[np.object_], move: Callable[[Any, Any], Any]) -> NDArray[np.object_]:
    """Return ``geometry`` with all points put where ``move`` says for their x and y."""
    return shapely.transform(geometry, lambda xy: np.column_stack(move(xy[:, 0], xy[:, 1])))


@contextmanager
def _dated() -> Iterator[None]:
    """Let GDAL take DATE for today."""
    before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": DATE})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})
