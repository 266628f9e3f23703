"""Vector data on a grid: read, brought to its pixels, drawn by window."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.errors import QuadratError
from quadrat.scenes.grid import Grid
from quadrat.windows import Window

if TYPE_CHECKING:
    import geopandas

Geometries = NDArray[np.object_]


@dataclass(frozen=True)
class Areas:
    """Polygons in pixel coordinates of a grid (x = column, y = row), in drawing order, and what each is drawn with."""

    geometry: Geometries
    values: NDArray[np.uint8]

    def __post_init__(self) -> None:
        """Index the polygons."""
        object.__setattr__(self, "_tree", shapely.STRtree(self.geometry))

    def draw(self, window: Window, *, fill: int, all_touched: bool = False) -> NDArray[np.uint8]:
        """Return (y, x) values, ``fill`` where no polygon is; of overlapping polygons the last counts."""
        from affine import Affine
        from rasterio.features import rasterize

        tree: shapely.STRtree = self._tree  # type: ignore[attr-defined]
        hits = np.sort(tree.query(shapely.box(window.col, window.row, window.right, window.bottom)))
        if not hits.size:
            return np.full(window.shape, fill, np.uint8)
        # in the window's own pixels, so that each window rounds alike; off by one: GDAL takes identity for no place
        moved = shapely.transform(self.geometry[hits], lambda points: points - (window.col - 1, window.row - 1))
        burnt: NDArray[np.uint8] = rasterize(
            zip(moved, self.values[hits].tolist(), strict=True),
            window.shape,
            transform=Affine.translation(1, 1),
            fill=fill,
            all_touched=all_touched,
            dtype="uint8",
        )
        return burnt


def read_features(path: str, layer: str | None, error: type[QuadratError], scene: str) -> "geopandas.GeoDataFrame":
    """Return the features of a file, in its order; raise ``error`` where it is missing or can't be read."""
    import geopandas
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError

    check_file(path, error, scene)
    try:
        if path.endswith(".parquet"):
            frame = geopandas.read_parquet(path)
        else:
            frame = pyogrio.read_dataframe(path, layer=layer, fid_as_index=False)
    except (DataSourceError, DataLayerError, ValueError, OSError) as cause:
        far = "check the address, and the credentials and endpoint that the environment gives (AWS_…)"
        mend = far if "://" in path else None
        raise error("the file can't be read as vector data", scene, path, got=cause, mend=mend) from cause
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise error(
            "the file holds a table without geometries",
            scene,
            path,
            got=", ".join(map(str, frame.columns)),
            mend="name a file, or a layer of it, with geometries",
        )
    return frame


def check_file(path: str, error: type[QuadratError], scene: str) -> None:
    """Raise ``error`` where a local file is missing."""
    if "://" not in path and not Path(path).exists():
        raise error("the file is missing", scene, path, mend="check the path in the catalog, or fetch the data")


def on_grid(
    frame: "geopandas.GeoDataFrame", grid: Grid, path: str, error: type[QuadratError], scene: str
) -> tuple[Geometries, NDArray[np.intp]]:
    """Return points, lines and polygons in pixel coordinates (x = column, y = row, corners), and the feature of each.

    Collections come in parts, polygons are made valid, and nothing is left of those without an area.
    """
    from pyproj import CRS
    from pyproj.exceptions import ProjError

    check_crs(grid, frame.crs, path, error, scene)
    empty = frame.geometry.isna() | frame.geometry.is_empty
    if empty.any():
        raise error(
            "features without geometry",
            scene,
            path,
            got=f"{int(empty.sum())} of {len(frame)} features, the first is number {int(np.argmax(empty)) + 1}",
            mend="delete them, or give them geometries",
        )
    if frame.crs is not None and not frame.crs.equals(CRS.from_user_input(grid.crs)):
        try:
            frame = frame.set_geometry(_dense(frame, grid)).to_crs(CRS.from_user_input(grid.crs))
        except ProjError as cause:
            raise no_way(grid, frame.crs, path, error, scene) from cause
    into = ~grid.transform
    matrix = np.array([[into.a, into.b], [into.d, into.e]])
    points = shapely.transform(shapely.force_2d(frame.geometry.to_numpy()), lambda xy: xy @ matrix.T + (into.c, into.f))
    if not np.isfinite(shapely.get_coordinates(points)).all():
        raise error(
            "coordinates that the image's CRS has no place for",
            scene,
            path,
            expected=crs_name(grid.crs),
            got=extent(frame),
        )
    return _parts(np.asarray(points, object), _valid)


def _dense(frame: "geopandas.GeoDataFrame", grid: Grid) -> "geopandas.GeoSeries":
    """Return the geometries with more vertices: an edge that is straight in one CRS is bent in another.

    Edges are cut to 1/128 of the image's extent, over which they bend by 1/16,000 of what they would over all of
    it; but to no more than 4,096 pieces across all features.
    """
    from pyproj import CRS, Transformer

    into = Transformer.from_crs(CRS.from_user_input(grid.crs), frame.crs, always_xy=True)
    image = into.transform_bounds(*grid.footprint(grid.area).bounds)
    side = max(image[2] - image[0], image[3] - image[1]) / 128
    across = max(np.ptp(frame.total_bounds[0::2]), np.ptp(frame.total_bounds[1::2])) / 4096
    return frame.geometry.segmentize(max(side, across)) if np.isfinite(side) and side > 0 else frame.geometry


def clipped(geometry: Geometries, grid: Grid, margin: int) -> tuple[Geometries, NDArray[np.intp]]:
    """Return polygons that meet the grid, cut to it and ``margin`` px around it, and the number of each."""
    height, width = grid.shape
    near = np.flatnonzero(shapely.intersects(geometry, shapely.box(0, 0, width, height)))
    frame = shapely.box(-margin, -margin, width + margin, height + margin)
    parts, inner = _parts(geometry[near], lambda some: _cut(some, frame))
    return parts, near[inner]


def check_crs(grid: Grid, crs: object, path: str, error: type[QuadratError], scene: str) -> None:
    """Raise ``error`` where one of grid and file has a CRS, and the other has none."""
    if (crs is None) != (grid.crs is None):
        raise error(
            "the file and the image must both have a CRS, or neither",
            scene,
            path,
            expected=crs_name(grid.crs),
            got=crs_name(crs),
            mend="write the CRS into the one that lacks it (vectors: `ogr2ogr -a_srs EPSG:…`, rasters: "
            "`gdal_translate -a_srs EPSG:… -a_ullr …`)",
        )


def no_way(grid: Grid, crs: object, path: str, error: type[QuadratError], scene: str) -> QuadratError:
    """Return the error of a file whose CRS has no way to the grid's, such as one on Earth and one that isn't."""
    return error(
        "no way is known from the file's CRS to the image's",
        scene,
        path,
        expected=crs_name(grid.crs),
        got=crs_name(crs),
        mend="give both a CRS that has a place on Earth, or both the same local one",
    )


def crs_name(crs: object) -> str:
    """Return what an error calls a CRS."""
    from pyproj import CRS

    return "no CRS" if crs is None else CRS.from_user_input(crs).to_string()


def bounds(grid: Grid) -> str:
    """Return what an error says of where a grid lies."""
    return _rounded(grid.footprint(grid.area).bounds)


def extent(frame: "geopandas.GeoDataFrame") -> str:
    """Return what an error says of where features lie."""
    return _rounded(frame.total_bounds) if len(frame) else "nothing"


def _parts(geometry: Geometries, change: Callable[[Geometries], Geometries]) -> tuple[Geometries, NDArray[np.intp]]:
    """Return the single points, lines and polygons of what ``change`` makes of each part, and the number of each.

    Of what it makes of a polygon only polygons are taken: a border has no area.
    """
    parts, owners = _single(geometry)
    areal = _is_polygon(parts)
    parts, inner = _single(change(parts))
    kept = _is_polygon(parts) | ~areal[inner]
    return parts[kept], owners[inner][kept]


def _single(geometry: Geometries) -> tuple[Geometries, NDArray[np.intp]]:
    owners = np.arange(len(geometry))
    while (shapely.get_type_id(geometry) >= shapely.GeometryType.MULTIPOINT).any():  # collections may hold collections
        geometry, inner = shapely.get_parts(geometry, return_index=True)
        owners = owners[inner]
    some = ~shapely.is_empty(geometry)
    return geometry[some], owners[some]


def _is_polygon(geometry: Geometries) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = shapely.get_type_id(geometry) == shapely.GeometryType.POLYGON
    return found


def _valid(geometry: Geometries) -> Geometries:
    broken = ~shapely.is_valid(geometry)
    geometry[broken] = shapely.make_valid(geometry[broken])
    return geometry


def _cut(geometry: Geometries, frame: Any) -> Geometries:
    over = ~shapely.covered_by(geometry, frame)
    geometry[over] = shapely.intersection(geometry[over], frame)
    return geometry


def _rounded(values: Sequence[float]) -> str:
    return "({})".format(", ".join(f"{value:.6g}" for value in values))
