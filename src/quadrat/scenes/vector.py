"""Vector data on a grid: labels and areas of interest."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS
from pyproj.exceptions import ProjError
from rasterio.features import rasterize

from quadrat.errors import AOIError, LabelError, QuadratError
from quadrat.scenes.grid import Grid
from quadrat.section import Section
from quadrat.windows import Window

UNLABELLED = 255

MOST_TOLD = 40
"""Most values of a field that an error lists."""


class LabelSource(Section):
    """Vector labels of the catalog: a file, and the field whose values name the classes."""

    path: str
    """The file, from the project's root."""
    field: str
    """The field whose values name the classes."""
    layer: str | None = None
    """The layer of a file that holds several; left out: the first."""
    drop: tuple[str, ...] = ()
    """Values of the field that are left out on purpose: their areas are unlabelled."""

    def open(self, grid: Grid, aliases: Mapping[str, int], scene: str) -> "Labels":
        """Read the features near the grid; ``aliases`` gives the class id of each value of the field.

        Raises LabelError for a file or field that isn't there, a value that no class claims, or labels that
        miss the image.
        """
        frame = _read(self.path, self.layer, LabelError, scene)
        if self.field not in frame:
            raise LabelError(
                "the labels have no such field",
                scene,
                self.path,
                expected=self.field,
                got=", ".join(c for c in frame.columns if c != "geometry"),
                mend="set 'field' of the labels in the catalog",
            )
        values = frame[self.field].map(_text)
        self._check(values, aliases, scene)
        frame = frame[~values.isin(self.drop)]
        geometry = _on_grid(frame, grid, self.path, LabelError, scene)
        class_ids = values[~values.isin(self.drop)].map(aliases.__getitem__).to_numpy(np.uint8)
        near = shapely.intersects(geometry, shapely.box(0, 0, grid.shape[1], grid.shape[0]))
        if not near.any():
            raise LabelError(
                "no label lies on the image",
                scene,
                self.path,
                expected=f"features within {_bounds(grid)} ({_name(grid.crs)})",
                got=f"{len(frame)} features within {_extent(frame)} ({_name(frame.crs)})",
                mend="check the labels' CRS and that they belong to this image",
            )
        return Labels(grid, geometry[near], class_ids[near])

    def _check(self, values: Any, aliases: Mapping[str, int], scene: str) -> None:
        unknown = Counter(v for v in values if v not in aliases and v not in self.drop)
        if unknown:
            shown = [f"{value} ({count} features)" for value, count in unknown.most_common()]
            raise LabelError(
                "the labels hold values that no class claims",
                scene,
                self.path,
                expected=", ".join(sorted(aliases)),
                got=", ".join(
                    [*shown[:MOST_TOLD], *([f"and {len(shown) - MOST_TOLD} more"] * (len(shown) > MOST_TOLD))]
                ),
                mend="add each to a class's 'from' in params.yaml, or to the labels' 'drop' in the catalog",
            )


@dataclass(frozen=True)
class Labels:
    """A scene's labelled areas, in pixel coordinates of its grid, in drawing order."""

    grid: Grid
    geometry: NDArray[np.object_]
    ids: NDArray[np.uint8]

    def __post_init__(self) -> None:
        """Index the areas."""
        object.__setattr__(self, "_tree", shapely.STRtree(self.geometry))

    def class_ids(self, window: Window, *, all_touched: bool) -> NDArray[np.uint8]:
        """Return (y, x) class ids, 255 where unlabelled; of overlapping areas the last in the file counts."""
        tree: shapely.STRtree = self._tree  # type: ignore[attr-defined]
        return _burn(self.geometry, self.ids, tree, window, fill=UNLABELLED, all_touched=all_touched)


@dataclass(frozen=True)
class AOI:
    """A scene's area of interest, in pixel coordinates of its grid."""

    geometry: NDArray[np.object_]
    bounds: Window
    """The smallest window of the grid that holds all of it."""

    def __post_init__(self) -> None:
        """Index the areas."""
        object.__setattr__(self, "_tree", shapely.STRtree(self.geometry))

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return (y, x), True where the AOI covers a pixel's centre; the window may reach over the grid's edge."""
        inside = np.ones(len(self.geometry), np.uint8)
        burnt = _burn(self.geometry, inside, self._tree, window, fill=0)  # type: ignore[attr-defined]
        return burnt.astype(np.bool_)


def open_aoi(path: str, grid: Grid, scene: str) -> AOI:
    """Read an area of interest in any CRS; raise AOIError where it can't be read or covers no pixel of the grid."""
    frame = _read(path, None, AOIError, scene)
    geometry = _on_grid(frame, grid, path, AOIError, scene)
    geometry = shapely.intersection(geometry, shapely.box(0, 0, grid.shape[1], grid.shape[0]))
    geometry = _areas(geometry[shapely.area(geometry) > 0])
    if geometry.size:
        left, top, right, bottom = shapely.total_bounds(geometry)
        row, col = int(np.floor(top)), int(np.floor(left))
        aoi = AOI(geometry, Window(row, col, int(np.ceil(bottom)) - row, int(np.ceil(right)) - col))
        if aoi.mask(aoi.bounds).any():
            return aoi
    raise AOIError(
        "the area of interest leaves no pixel of the image",
        scene,
        path,
        expected=f"an area within {_bounds(grid)} ({_name(grid.crs)})",
        got=f"{len(frame)} features within {_extent(frame)} ({_name(frame.crs)})",
        mend="check the AOI's CRS (GeoJSON is longitude, latitude unless it says otherwise) and its place",
    )


def _burn(
    geometry: NDArray[np.object_],
    values: NDArray[np.uint8],
    tree: shapely.STRtree,
    window: Window,
    *,
    fill: int,
    all_touched: bool = False,
) -> NDArray[np.uint8]:
    hits = np.sort(tree.query(shapely.box(window.col, window.row, window.right, window.bottom)))
    if not hits.size:
        return np.full(window.shape, fill, np.uint8)
    # in the window's own pixels, so that each window rounds alike; off by one, for GDAL takes identity for no place
    moved = shapely.transform(geometry[hits], lambda points: points - (window.col - 1, window.row - 1))
    burnt: NDArray[np.uint8] = rasterize(
        zip(moved, values[hits].tolist(), strict=True),
        window.shape,
        transform=Affine.translation(1, 1),
        fill=fill,
        all_touched=all_touched,
        dtype="uint8",
    )
    return burnt


def _read(path: str, layer: str | None, error: type[QuadratError], scene: str) -> geopandas.GeoDataFrame:
    if "://" not in path and not Path(path).exists():
        raise error("the file is missing", scene, path, mend="check the path in the catalog, or fetch the data")
    try:
        if path.endswith(".parquet"):
            frame = geopandas.read_parquet(path)
        else:
            frame = pyogrio.read_dataframe(path, layer=layer, fid_as_index=False)
    except (DataSourceError, DataLayerError, ValueError, OSError) as cause:
        raise error("the file can't be read as vector data", scene, path, got=cause) from cause
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise error(
            "the file holds a table without geometries",
            scene,
            path,
            got=", ".join(map(str, frame.columns)),
            mend="name a file, or a layer of it, with polygons",
        )
    return frame


def _on_grid(
    frame: geopandas.GeoDataFrame, grid: Grid, path: str, error: type[QuadratError], scene: str
) -> NDArray[np.object_]:
    """Return the geometries in pixel coordinates (x = column, y = row, corners), made valid, none of them None."""
    if (frame.crs is None) != (grid.crs is None):
        raise error(
            "the file and the image must both have a CRS, or neither",
            scene,
            path,
            expected=_name(grid.crs),
            got=_name(frame.crs),
            mend="write the CRS into the one that lacks it (for a file without one: `ogr2ogr -a_srs EPSG:…`)",
        )
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
            frame = frame.to_crs(CRS.from_user_input(grid.crs))
        except ProjError as cause:
            raise error(
                "no way is known from the file's CRS to the image's",
                scene,
                path,
                expected=_name(grid.crs),
                got=_name(frame.crs),
                mend="give both a CRS that has a place on Earth, or both the same local one",
            ) from cause
    into = ~grid.transform
    matrix = np.array([[into.a, into.b], [into.d, into.e]])
    points = shapely.transform(shapely.force_2d(frame.geometry.to_numpy()), lambda xy: xy @ matrix.T + (into.c, into.f))
    if not np.isfinite(shapely.get_coordinates(points)).all():
        raise error(
            "coordinates that the image's CRS has no place for",
            scene,
            path,
            expected=_name(grid.crs),
            got=_extent(frame),
        )
    broken = ~shapely.is_valid(points) & (shapely.get_dimensions(points) == 2)
    points[broken] = _areas(shapely.make_valid(points[broken]))
    return np.asarray(points, object)


def _areas(geometry: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return geometries without the points and lines that repairing and clipping leave of polygons: they'd be drawn."""
    kept = geometry.copy()
    areal = shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON
    for place in np.flatnonzero(~np.isin(shapely.get_type_id(geometry), areal)):
        parts = shapely.get_parts(shapely.get_parts(geometry[place]))
        kept[place] = shapely.union_all(parts[shapely.get_dimensions(parts) == 2])
    return kept


def _text(value: object) -> str:
    """Return a field's value as classes name it: whole numbers without a fraction, a missing value as 'null'."""
    if value is None or value != value:  # noqa: PLR0124 (only NaN differs from itself)
        return "null"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _name(crs: object) -> str:
    return "no CRS" if crs is None else CRS.from_user_input(crs).to_string()


def _bounds(grid: Grid) -> str:
    return _rounded(grid.footprint(grid.area).bounds)


def _extent(frame: geopandas.GeoDataFrame) -> str:
    return _rounded(frame.total_bounds)


def _rounded(bounds: Sequence[float]) -> str:
    return "({})".format(", ".join(f"{value:.6g}" for value in bounds))
