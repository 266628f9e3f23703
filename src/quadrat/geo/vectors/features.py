"""Reads vector data, brings it to a grid's pixels, and draws it by window."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.errors import GEOSException, ShapelyError

from quadrat.errors import QuadratError
from quadrat.geo.geometry.parts import Geometries, cut, parts_of, single, valid
from quadrat.geo.geometry.tangles import TangledError, numbered
from quadrat.geo.grids.grid import Grid
from quadrat.geo.sources.channel import is_remote, spelling
from quadrat.geo.vectors.surfaces import read_surfaces
from quadrat.geo.vectors.vector_files import DRIVERS, PARQUET, AddressError, check_plain, ending, layers, read

if TYPE_CHECKING:
    import geopandas
    import pandas as pd


UNREADABLE = (
    ArithmeticError,
    AttributeError,
    MemoryError,  # of sizes that a header says
    LookupError,
    OSError,
    RuntimeError,  # of pyogrio and pyproj, too
    ShapelyError,
    TypeError,
    ValueError,
)
"""Errors of libraries for vector files that are damaged or not supported."""


NAMED = "write the CRS into the file by its code: `ogr2ogr -a_srs EPSG:… labels.gpkg FILE`"
"""The hint for a file that refers to an address, which only the CRS of a GeoJSON file may do."""

UNTANGLED = "simplify the feature, split it, or delete it; in QGIS: Simplify, Fix geometries"
"""The hint for a polygon that crosses itself very often."""

MOST_TURNS = 10
"""Largest number of turns around the Earth in x, because each turn to the image is searched."""

FARTHEST = 1e100
"""Largest coordinate in any unit; products of smaller ones do not overflow."""


def read_features(path: str, layer: str | None, error: type[QuadratError], scene: str) -> "geopandas.GeoDataFrame":
    """Return the features of a file, in its order; raise ``error`` if it is missing or can't be read.

    Each patch of a surface (TIN, polyhedral surface, triangle) becomes a polygon.
    """
    import geopandas
    from pyarrow import ArrowException

    check_file(path, error, scene)
    check_format(path, error, scene)
    try:
        if layer is None and path.lower().endswith(".gpkg"):
            layer = _only_layer(path, error, scene)
        frame = _read(path, layer)
    except (*UNREADABLE, ArrowException) as cause:
        far = "check the address, and the credentials and endpoint in the environment (AWS_…)"
        hint = NAMED if isinstance(cause, AddressError) else far if is_remote(path) else None
        raise error("the file can't be read as vector data", scene, path, got=cause, hint=hint) from cause
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise error(
            "the file holds a table without geometries",
            scene,
            path,
            got=", ".join(map(str, frame.columns)),
            hint="name a file, or a layer of it, with geometries",
        )
    return frame


def _only_layer(path: str, error: type[QuadratError], scene: str) -> str | None:
    """Return the name of the layer with geometries, None if there is none; raise ``error`` if there are several."""
    names = [name for name, kind in layers(path) if kind is not None]
    if len(names) > 1:
        raise error(
            "the file holds several layers, and none is named",
            scene,
            path,
            expected="one layer with geometries",
            got=", ".join(names),
            hint="name it under 'layer' of the labels in the catalog, or make a file of it: "
            "`ogr2ogr one.gpkg FILE LAYER` (of several: `ogrmerge.py -single`)",
        )
    return names[0] if names else None


def _read(path: str, layer: str | None) -> "geopandas.GeoDataFrame | pd.DataFrame":
    try:
        return read(path, layer, fid_as_index=False)
    except GEOSException:
        return read_surfaces(path, layer)


def check_file(path: str, error: type[QuadratError], scene: str) -> None:
    """Raise ``error`` if a local file is missing."""
    if not is_remote(path) and not Path(path).exists():
        hint = spelling(path) or "check the path in the catalog, or fetch the data"
        raise error("the file is missing", scene, path, hint=hint)


def check_format(path: str, error: type[QuadratError], scene: str) -> None:
    """Raise ``error`` if a file's ending is not of a supported format, or it is not a plain file."""
    if ending(path) is None:
        raise error(
            "vector files with this ending are not supported",
            scene,
            path,
            expected=", ".join(sorted({*DRIVERS, PARQUET})),
            hint="convert it: `ogr2ogr labels.gpkg FILE`",
        )
    try:
        check_plain(path)
    except OSError as cause:
        raise error(
            "this is not a plain file", scene, path, expected="a plain file", got=cause, hint="check the path"
        ) from cause


def on_grid(
    frame: "geopandas.GeoDataFrame", grid: Grid, path: str, error: type[QuadratError], scene: str
) -> tuple[Geometries, NDArray[np.intp]]:
    """Return points, lines and polygons in pixel coordinates (x = column, y = row, corners), and the feature of each.

    Collections are split into parts, polygons are made valid, and polygons without an area and geometries far from the
    grid are dropped. Geometries that extend far are cut; longitudes are taken modulo 360°.
    """
    from pyproj.exceptions import ProjError

    from quadrat.geo.geometry.reprojection import NoPlaceError, brought

    check_crs(grid, frame.crs, path, error, scene)
    check_coordinates(frame, path, error, scene)
    parts, owners = single(shapely.force_2d(frame.geometry.to_numpy()))
    if frame.crs is not None:
        try:
            with numbered(owners):
                parts, near = brought(parts, frame.crs, grid)
        except NoPlaceError as cause:
            raise error(
                "coordinates outside the image's CRS",
                scene,
                path,
                expected=crs_name(grid.crs),
                got=extent(frame),
            ) from cause
        except ProjError as cause:
            raise no_way(grid, frame.crs, path, error, scene) from cause
        owners = owners[near]
    into = ~grid.transform
    matrix = np.array([[into.a, into.b], [into.d, into.e]])
    with numbered(owners):
        parts, inner = parts_of(shapely.transform(parts, lambda xy: xy @ matrix.T + (into.c, into.f)), valid)
    return parts, owners[inner]


def check_coordinates(frame: "geopandas.GeoDataFrame", path: str, error: type[QuadratError], scene: str) -> None:
    """Raise ``error`` if features have no geometry, or coordinates that are not finite, too large, or not degrees."""
    from quadrat.geo.geometry.extents import period

    geometry = frame.geometry.to_numpy()
    empty = shapely.is_missing(geometry) | shapely.is_empty(geometry)
    xy, owners = shapely.get_coordinates(geometry, return_index=True)
    turn = 0.0 if frame.crs is None else period(frame.crs)
    apart = bool(turn) and not frame.crs.is_geographic
    far = (np.abs(xy[:, 0]) > MOST_TURNS * turn) & apart
    broken = np.isin(np.arange(len(frame)), owners[~(np.abs(xy) < FARTHEST).all(1) | far])
    for which, problem in (
        (empty, "features without geometry"),
        (broken, "features with invalid coordinates"),
    ):
        if which.any():
            raise error(
                problem,
                scene,
                path,
                got=f"{int(which.sum())} of {len(frame)} features, the first is number {int(np.argmax(which)) + 1}",
                hint="delete them, or give them geometries",
            )
    degrees = len(xy) and frame.crs is not None and frame.crs.is_geographic
    if degrees and (np.abs(xy).max(0) > (2 * turn, turn / 4 * (1 + 1e-9))).any():
        raise error(
            "coordinates that are not longitudes and latitudes, as the file's CRS says",
            scene,
            path,
            expected=f"longitude and latitude ({crs_name(frame.crs)})",
            got=f"features within {extent(frame)}",
            hint="give the file the right CRS: `ogr2ogr -a_srs EPSG:… labels.gpkg FILE`; or convert them: "
            "`ogr2ogr -s_srs EPSG:… -t_srs EPSG:4326 labels.geojson FILE`. GeoJSON is in longitude and latitude "
            "unless it has a member `crs` that names another",
        )


@contextmanager
def workable(path: str, error: type[QuadratError], scene: str) -> Iterator[None]:
    """Raise ``error`` for errors of libraries that process the file's geometries."""
    try:
        yield
    except ShapelyError as cause:
        raise error(
            "the file's geometries can't be processed",
            scene,
            path,
            got=cause,
            hint=UNTANGLED if isinstance(cause, TangledError) else "repair them (`ogr2ogr -makevalid OUT IN`)",
        ) from cause


def around(frame: "geopandas.GeoDataFrame", grid: Grid) -> bool:
    """Return whether there are no features, or some on both sides of the grid, so that none on it is plausible."""
    from quadrat.geo.geometry.extents import surroundings

    return frame.empty or surroundings(grid, frame.crs).meet(frame.geometry.to_numpy())


def clipped(geometry: Geometries, grid: Grid, margin: int) -> tuple[Geometries, NDArray[np.intp]]:
    """Return polygons that meet the grid, cut to it and ``margin`` px around it, and the number of each."""
    height, width = grid.shape
    near = np.flatnonzero(shapely.intersects(geometry, shapely.box(0, 0, width, height)))
    frame = shapely.box(-margin, -margin, width + margin, height + margin)
    parts, inner = parts_of(geometry[near], partial(cut, frame=frame))
    return parts, near[inner]


def check_crs(grid: Grid, crs: object, path: str, error: type[QuadratError], scene: str) -> None:
    """Raise ``error`` if one of grid and file has a CRS, and the other has none."""
    if (crs is None) != (grid.crs is None):
        raise error(
            "the file and the image must both have a CRS, or neither",
            scene,
            path,
            expected=crs_name(grid.crs),
            got=crs_name(crs),
            hint="write the CRS into the one that lacks it (vectors: `ogr2ogr -a_srs EPSG:…`, rasters: "
            "`gdal_translate -a_srs EPSG:… -a_ullr …`)",
        )


def no_way(grid: Grid, crs: object, path: str, error: type[QuadratError], scene: str) -> QuadratError:
    """Return the error of a file whose CRS can't be transformed to the grid's, such as a local one."""
    return error(
        "no transformation is known from the file's CRS to the image's",
        scene,
        path,
        expected=crs_name(grid.crs),
        got=crs_name(crs),
        hint="give both a CRS that has a place on Earth, or both the same local one",
    )


def crs_name(crs: object) -> str:
    """Return a CRS's name for errors."""
    from pyproj import CRS

    return "no CRS" if crs is None else CRS.from_user_input(crs).to_string()


def bounds(grid: Grid) -> str:
    """Return a grid's bounds as text for errors."""
    return _rounded(grid.footprint(grid.area).bounds)


def extent(frame: "geopandas.GeoDataFrame") -> str:
    """Return the features' bounds as text for errors."""
    return _rounded(frame.total_bounds) if len(frame) else "nothing"


def _rounded(values: Sequence[float]) -> str:
    return "({})".format(", ".join(f"{value:.6g}" for value in values))
