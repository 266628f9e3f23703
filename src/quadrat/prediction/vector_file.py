"""Vector layers as GeoParquet, GeoPackage, FlatGeobuf or GeoJSON."""

import json
import math
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
from pyproj import CRS, Transformer

from quadrat.errors import ParamsError, QuadratError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.vectors.vector_files import DRIVERS_LOCK
from quadrat.prediction.geoparquet import ROW_GROUP, GeoParquet
from quadrat.prediction.gpkg_style import add_style
from quadrat.prediction.qgis_style import vector_style
from quadrat.prediction.writers import style_of
from quadrat.runtime.files import replaced
from quadrat.tasks.common.outputs import Features, VectorLayer

DRIVERS = {".parquet": "Parquet", ".gpkg": "GPKG", ".fgb": "FlatGeobuf", ".geojson": "GeoJSON"}
"""GDAL's names of the formats, by the file's ending."""

DATE = "2000-01-01T00:00:00Z"
"""When a GeoPackage says it was written: always then, so that the same features give the same bytes."""

EARTH_RADIUS = 6_371_007.0
"""Of a sphere with the Earth's surface, m."""

BEND = 0.01
"""Px by which an edge that is straight on the grid may be bent in longitude and latitude, which its ends don't show."""

PIECE = 1 / 32
"""Sides of a polygon, in radians, over which a pixel's size on the ground changes evenly, but for 1e-4."""


class VectorWriter:
    """Writes a vector layer to ``path``, whole or not at all; a context manager.

    Features are brought to map coordinates (shells counterclockwise) and streamed into GeoParquet; another format is
    made of that at a good end, as a stream again, so memory is bounded by the row group. The same features give the
    same bytes, however they are cut into ``Features``. Those with a field ``pixels`` get a field ``area``: see
    ``areas``.

    If the layer has classes, a GeoPackage gets their style for QGIS in its table ``layer_styles``, and other formats a
    file ``.qml`` beside them.

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
                hint="give the file one of these endings",
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
        geometry = features.geometry
        if self._to_wgs84 is not None:
            geometry = shapely.segmentize(geometry, math.sqrt(8 * BEND / _radians(self._grid).max()))
        geometry = _moved(geometry, lambda x, y: self._grid.transform @ (x, y))
        fields = dict(features.fields)
        if "pixels" in fields:
            fields["area"] = areas(self._grid, features.geometry)
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
        self._style()

    def _style(self) -> None:
        """Write the style: into a GeoPackage, or else beside the file."""
        layer, beside = self._layer, self._path.with_name(style_of(self._path.name))
        beside.unlink(missing_ok=True)
        if not layer.classes:
            return
        style = vector_style(layer.classes, layer.threshold, several=layer.several)
        if self._driver == "GPKG":
            add_style(self._part, layer.name, style, DATE)
            return
        with replaced(beside) as part:
            part.write_text(style, encoding="utf-8")

    def _let_go(self) -> None:
        if self._features is not None:
            self._features.abandon()

    def _convert(self, features: GeoParquet) -> None:
        options: dict[str, str] = {}
        if self._driver == "GeoJSON":
            options["DESCRIPTION"] = json.dumps(self._metadata)
            if self._crs is not None:
                options.update(RFC7946="YES", COORDINATE_PRECISION="11")  # of 9 digits, GDAL cuts 15.00000008 to 15
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
                f"the layer {self._layer.name} could not be written completely",
                file=self._path,
                got=error,
                hint="check that the disk has room, and run again",
            ) from error


def areas(grid: Grid, geometry: NDArray[np.object_]) -> NDArray[np.float64]:
    """Return the areas (n,) on the ground of polygons (n,) in pixel coordinates: in m², or px² without a CRS.

    The size of a pixel is measured at the centre of each polygon, and of one that is larger than ``PIECE``, at the
    centres of pieces of it. NaN where a centre is not on Earth.
    """
    pieces, owners = geometry, np.arange(len(geometry))
    if grid.on_earth:
        pieces, owners = _cut(_between_poles(geometry, grid), PIECE / _radians(grid))
    sizes: NDArray[np.float64] = shapely.area(pieces)
    centres = shapely.centroid(pieces[sizes > 0])
    places = np.column_stack([shapely.get_x(centres), shapely.get_y(centres)])
    on_ground = sizes[sizes > 0] * grid.pixel_areas(places)
    return np.bincount(owners[sizes > 0], on_ground, len(geometry)).astype(np.float64, copy=False)


def _radians(grid: Grid) -> NDArray[np.float64]:
    """Return the width and the height of a pixel in the CRS's own plane, in radians of a great circle."""
    sides: NDArray[np.float64] = np.linalg.norm(grid.plane, axis=0)
    return sides if grid.crs is not None and grid.crs.is_geographic else sides / EARTH_RADIUS


def _cut(geometry: NDArray[np.object_], most: NDArray[np.float64]) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Return polygons cut in halves until none is wider and higher than ``most``, and of which each is a piece."""
    pieces, owners = geometry, np.arange(len(geometry))
    while True:
        bounds = shapely.bounds(pieces).reshape(-1, 4)
        sides = (bounds[:, 2:] - bounds[:, :2]) / most
        large = np.flatnonzero(sides.max(1, initial=0) > 1)
        if not large.size:
            return pieces, owners
        bounds, axis = bounds[large], sides[large].argmax(1)
        first, second = bounds.copy(), bounds.copy()
        middle = (bounds[:, :2] + bounds[:, 2:])[np.arange(len(large)), axis] / 2
        first[np.arange(len(large)), axis + 2] = second[np.arange(len(large)), axis] = middle
        halves = [shapely.intersection(pieces[large], shapely.box(*half.T)) for half in (first, second)]
        pieces = np.concatenate([np.delete(pieces, large), *halves])
        owners = np.concatenate([np.delete(owners, large), owners[large], owners[large]])


def _between_poles(geometry: NDArray[np.object_], grid: Grid) -> NDArray[np.object_]:
    """Return what of polygons lies between the poles: global grids may reach over them by half a pixel."""
    assert grid.crs is not None
    left, bottom, right, top = grid.footprint(grid.area).bounds
    pole = np.pi / 2 / CRS.from_user_input(grid.crs).axis_info[0].unit_conversion_factor
    if not grid.crs.is_geographic or max(top, -bottom) <= pole:
        return geometry
    band = _moved(np.array([shapely.box(left, -pole, right, pole)]), lambda x, y: ~grid.transform @ (x, y))
    return np.asarray(shapely.intersection(geometry, band), object)


def _moved(geometry: NDArray[np.object_], move: Callable[[Any, Any], Any]) -> NDArray[np.object_]:
    """Return ``geometry`` with all points put where ``move`` says for their x and y."""
    return shapely.transform(geometry, lambda xy: np.column_stack(move(xy[:, 0], xy[:, 1])))


@contextmanager
def _dated() -> Iterator[None]:
    """Let GDAL take DATE for today, and have all its drivers."""
    with DRIVERS_LOCK:
        before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": DATE})
        try:
            yield
        finally:
            pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})
