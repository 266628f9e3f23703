"""Reads predictions of a scene, by predict or other programs, on the scene's grid."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray
from pyarrow import ArrowException
from pyproj import CRS
from pyproj.exceptions import ProjError
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from quadrat.errors import PredictionError
from quadrat.geo.files.opening import open_raster
from quadrat.geo.files.raster_files import category_names
from quadrat.geo.files.stored_bands import Stored
from quadrat.geo.geometry.parts import single
from quadrat.geo.geometry.reprojection import NoPlaceError, brought
from quadrat.geo.grids.class_ids import IGNORE, all_known
from quadrat.geo.grids.grid import SHIFT, Grid
from quadrat.geo.grids.windows import Window
from quadrat.geo.vectors.features import UNREADABLE, bounds, crs_name, extent, no_way, workable
from quadrat.geo.vectors.vector_files import PARQUET, layers, read
from quadrat.tasks.common.outputs import Features

HINT = "run the stage 'predict' again"

ENDINGS = (".parquet", ".gpkg", ".fgb", ".geojson")
"""Endings of vector layers."""

BYTES = "u"

KINDS = {"iuf": ("values", "numbers"), "iu": ("class ids", "whole numbers"), BYTES: ("probabilities", "bytes")}
"""What rasters hold, by the kinds of their types in NumPy."""

MOST_SHOWN = 10
"""Largest number of values in an error."""


class Prediction:
    """A scene's folder of layers. A context manager: files open on first use and close at the end."""

    hint: ClassVar[str] = HINT
    """What errors advise to do about a file that is damaged or does not fit."""

    def __init__(self, folder: Path, grid: Grid, scene: str) -> None:
        """Read from ``folder``; layers on another grid than ``grid`` are errors."""
        self._folder, self._grid, self._scene = folder, grid, scene
        self._files = ExitStack()
        self._rasters: dict[Path, Stored] = {}
        self._checked = set[Path]()
        self._vectors: dict[str, tuple[Features, shapely.STRtree]] = {}

    def __enter__(self) -> Self:
        """Return the prediction itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close all files."""
        self._files.close()

    def class_ids(self, layer: str, window: Window, names: Sequence[str]) -> NDArray[np.uint8]:
        """Return a raster layer's class ids (y, x), IGNORE where there is none, in a window within the grid.

        The file may have any integer type; pixels hidden by nodata or a mask have no class. Raises PredictionError if
        the layer is missing, damaged, on another grid, or of other classes than ``names``.
        """
        path, stored = self._raster(layer, "iu")
        if path not in self._checked:
            self._check_classes(path, stored, names)
            self._checked.add(path)
        values, mask = self._stored(path, stored, window)
        plain = values.dtype == np.uint8 and stored.nodata == (IGNORE,) and mask is None
        if plain and all_known(values[0], len(names)):
            plain_ids: NDArray[np.uint8] = values[0]
            return plain_ids
        given = stored.given(values)
        masks = [some for some in (given, mask) if some is not None]
        wrong = np.logical_and.reduce([(values[0] < 0) | (values[0] >= len(names)), *masks])
        if wrong.any():
            raise PredictionError(
                "the prediction holds values that are not class ids",
                self._scene,
                path,
                window,
                expected=_classes(names) + _hole(stored),
                got=", ".join(map(str, np.unique(values[0][wrong])[:MOST_SHOWN])),
                hint=f"declare the value for no class as nodata (gdal_edit.py -a_nodata …), or {self.hint}",
            )
        known = np.logical_and.reduce(masks) if masks else True
        return np.where(known, values[0], IGNORE).astype(np.uint8)

    def values(self, layer: str, window: Window) -> NDArray[np.float32]:
        """Return a raster layer's values (y, x), NaN where there is none, in a window within the grid.

        The file may have any numeric type; its scale and offset are applied. Raises PredictionError if the layer is
        missing, damaged or on another grid.
        """
        path, stored = self._raster(layer, "iuf")
        values, mask = self._stored(path, stored, window)
        with np.errstate(over="ignore"):  # of nodata values
            numbers = values[0] * stored.dataset.scales[0] + stored.dataset.offsets[0]
        known = [some for some in (stored.given(values), mask, np.isfinite(numbers)) if some is not None]
        return np.where(np.logical_and.reduce(known), numbers, np.nan).astype(np.float32)

    def stored(self, layer: str, window: Window, bands: Sequence[int]) -> NDArray[np.uint8] | None:
        """Return a raster layer's stored values (band, y, x) in a window within the grid; None without the layer.

        Raises PredictionError if the layer is damaged, on another grid, or not of bytes with one of the numbers of
        ``bands``.
        """
        path = self._beside(layer)
        if not path.exists():
            return None
        if path not in self._rasters:
            self._rasters[path] = self._open(path, BYTES, bands)
        found: NDArray[np.uint8] = self._stored(path, self._rasters[path], window)[0]
        return found

    def about(self, layer: str) -> Mapping[str, str]:
        """Return what a raster layer's file says of itself; nothing without the layer."""
        path = self._beside(layer)
        if not path.exists():
            return {}
        with warnings.catch_warnings(), open_raster(str(path), PredictionError, self._scene) as dataset:
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            told: dict[str, str] = dataset.tags()
        return told

    def features(self, layer: str, window: Window | None = None) -> Features:
        """Return a vector layer's features, whatever its format, in pixel coordinates of the grid.

        Returns all, or those whose bounds overlap a window; the file is read once. Raises PredictionError if the layer
        is missing or damaged, if only one of scene and file has a CRS, if features have no geometry or are outside the
        scene's CRS, or if no feature is on the scene.
        """
        if layer not in self._vectors:
            features = self._read(layer)
            self._vectors[layer] = features, shapely.STRtree(features.geometry)
        features, tree = self._vectors[layer]
        if window is None:
            return features
        near = np.sort(tree.query(shapely.box(window.col, window.row, window.right, window.bottom)))
        left, top, right, bottom = shapely.bounds(features.geometry[near]).T
        met = (left < window.right) & (right > window.col) & (top < window.bottom) & (bottom > window.row)
        some = near[met]
        return replace(
            features, geometry=features.geometry[some], fields={n: v[some] for n, v in features.fields.items()}
        )

    def drawn(self, layer: str) -> bool:
        """Return whether a raster layer is given as polygons: never of predict's own."""
        del layer
        return False

    def _read(self, layer: str) -> Features:
        path = self._file(layer)
        try:
            frame = self._layer(path, layer)
        except (*UNREADABLE, ArrowException) as cause:
            raise self._unlike(path, "the prediction can't be read as vector data", got=cause) from cause
        if not isinstance(frame, geopandas.GeoDataFrame):
            raise self._unlike(path, "the prediction has no geometries", got=", ".join(map(str, frame.columns)))
        geometry, numbers = self._placed(frame, path)
        names = (name for name in frame.columns if name != frame.geometry.name)
        fields = {str(name): frame[name].to_numpy()[numbers] for name in names}
        return Features(layer, geometry, fields, path)

    def _file(self, layer: str) -> Path:
        """Return the path of a vector layer."""
        files = [self._folder / f"{layer}{ending}" for ending in ENDINGS]
        there = [path for path in files if path.exists()]
        if not there:
            raise self._missing(self._folder / f"{layer}.*", f"{layer} with an ending of {', '.join(ENDINGS)}")
        if len(there) > 1:
            several = ", ".join(path.name for path in there)
            problem = "a scene has several predictions of one layer"
            raise self._unlike(self._folder, problem, expected="one file", got=several, hint="delete all but one")
        return there[0]

    def _layer(self, path: Path, layer: str) -> Any:
        """Return the features of the file's only layer, or of that called ``layer``."""
        if path.suffix.lower() == PARQUET:
            return read(str(path))
        names = [name for name, _ in layers(str(path))]
        if layer not in names and len(names) > 1:
            problem = "the prediction's file has several layers"
            raise self._unlike(path, problem, expected=f"one, or one called {layer}", got=", ".join(names))
        return read(str(path), layer if layer in names else names[0])

    def _placed(self, frame: geopandas.GeoDataFrame, path: Path) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
        """Return the geometries around the grid in its pixel coordinates, and the number of each in the file."""
        crs = frame.crs
        if self._grid.crs is None and path.suffix.lower() == ".geojson" and crs is not None and crs.is_geographic:
            crs = None  # GeoJSON can't say that it has no CRS
        if (crs is None) != (self._grid.crs is None):
            raise self._elsewhere(path, self._grid.crs, crs)
        lacking = int((frame.geometry.isna() | frame.geometry.is_empty).sum())
        if lacking:
            raise self._unlike(path, "features of the prediction have no geometry", got=f"{lacking} of {len(frame)}")
        geometry, numbers = np.empty(0, object), np.empty(0, np.intp)
        try:
            if np.isfinite(shapely.get_coordinates(frame.geometry)).all():
                with suppress(NoPlaceError), workable(str(path), PredictionError, self._scene):
                    geometry, numbers = _around(frame, self._grid)
        except ProjError as cause:
            raise no_way(self._grid, crs, str(path), PredictionError, self._scene) from cause
        into = ~self._grid.transform
        geometry = shapely.transform(geometry, lambda xy: np.column_stack(into @ (xy[:, 0], xy[:, 1])))
        left, top, right, bottom = shapely.bounds(geometry).reshape(-1, 4).T
        height, width = self._grid.shape
        met = ((left < width) & (right > 0) & (top < height) & (bottom > 0)).any()
        if len(frame) and not met:
            raise self._unlike(
                path,
                "the prediction is not on its scene",
                expected=f"features within {bounds(self._grid)} ({crs_name(self._grid.crs)})",
                got=f"features within {extent(frame)} ({crs_name(crs)})",
                hint="check the file's CRS and that it belongs to this scene",
            )
        return np.asarray(geometry, object), numbers

    def _raster(self, layer: str, kinds: str) -> tuple[Path, Stored]:
        """Return a raster layer, opened once: one band whose type is of one of NumPy's ``kinds``."""
        path = self._raster_file(layer)
        if path not in self._rasters:
            self._rasters[path] = self._open(path, kinds)
        return path, self._rasters[path]

    def _beside(self, layer: str) -> Path:
        """Return the path of a raster layer that is not needed for scores."""
        return self._folder / f"{layer}.tif"

    def _raster_file(self, layer: str) -> Path:
        """Return the path of a raster layer."""
        return self._folder / f"{layer}.tif"

    def _stored(self, path: Path, stored: Stored, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return values (band, y, x) of a window, and the mask (y, x)."""
        try:
            return stored.values(window), stored.mask(window)
        except RasterioError as cause:
            problem = "the prediction can't be read: the file is damaged or cut short"
            raise PredictionError(problem, self._scene, path, window, got=cause, hint=self.hint) from cause

    def _open(self, path: Path, kinds: str, bands: Sequence[int] = (1,)) -> Stored:
        """Open a raster of one of the numbers of ``bands``; raise PredictionError if it does not fit the scene."""
        if not path.exists():
            raise self._missing(path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a scene may have no CRS
                dataset = self._files.enter_context(open_raster(str(path), PredictionError, self._scene))
                self._check_grid(path, Grid(dataset.crs, dataset.transform, dataset.shape))
                dtype = np.dtype(dataset.dtypes[0])
                if dataset.count not in bands or dtype.kind not in kinds or (kinds == BYTES and dtype != np.uint8):
                    what, which = KINDS[kinds]
                    got = f"{dataset.count} of {', '.join(dataset.dtypes)}"
                    counts = "one band" if bands == (1,) else f"{' or '.join(map(str, bands))} bands"
                    problem = f"the prediction holds no {what}"
                    raise self._unlike(path, problem, expected=f"{counts} of {which}", got=got)
                return Stored.of(dataset, tuple(range(1, dataset.count + 1)))
        except (RasterioError, OSError) as cause:
            raise self._unlike(path, "the prediction can't be opened", got=cause) from cause

    def _check_classes(self, path: Path, stored: Stored, names: Sequence[str]) -> None:
        """Raise PredictionError if the header of a raster of class ids names other classes, or these by other ids."""
        (nodata,) = stored.nodata
        if nodata is not None and nodata in range(len(names)):
            problem = "the prediction's nodata value is a class id"
            hint = "give pixels without a class another value, such as 255, and declare it as nodata"
            raise self._unlike(path, problem, expected=f"none of {_classes(names)}", got=f"{nodata:g}", hint=hint)
        tags = stored.dataset.tags(1)
        own = [tags.get(f"class_{number}", name) for number, name in enumerate(names)]
        if own == list(names):  # else names that GDAL keeps, such as those of a .aux.xml
            said = category_names(stored.dataset)
            others = any(name in names and names.index(name) != number for number, name in said.items())
            own = [said.get(number, name) for number, name in enumerate(names)] if others else own
        if own != list(names):
            raise self._unlike(path, "the prediction is of other classes", expected=_listed(names), got=_listed(own))

    def _check_grid(self, path: Path, grid: Grid) -> None:
        if grid.shape != self._grid.shape:
            raise self._elsewhere(path, _sized(self._grid), _sized(grid))
        if not _same_crs(grid.crs, self._grid.crs):
            raise self._elsewhere(path, self._grid.crs, grid.crs)
        shift = grid.shift(self._grid)
        if shift > SHIFT:
            raise self._elsewhere(path, _placed(self._grid), f"{_placed(grid)}, off by {shift:.3g} px")

    def _missing(self, path: Path, expected: str | None = None) -> PredictionError:
        return self._unlike(path, "a scene has no prediction", expected=expected)

    def _elsewhere(self, path: Path, expected: object, got: object) -> PredictionError:
        expected, got = (("no CRS" if crs is None else crs) for crs in (expected, got))
        return self._unlike(path, "a prediction is on another grid than its scene", expected=expected, got=got)

    def _unlike(
        self, path: Path, problem: str, *, expected: object = None, got: object = None, hint: str | None = None
    ) -> PredictionError:
        return PredictionError(problem, self._scene, path, expected=expected, got=got, hint=hint or self.hint)


def _around(frame: geopandas.GeoDataFrame, grid: Grid) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Return features around a grid in its map coordinates, and the number of each, as labels are brought there.

    Of one that is cut, as GeoJSON does at 180°, the parts are joined.
    """
    geometry = shapely.force_2d(frame.geometry.to_numpy())
    if frame.crs is None or grid.crs is None:
        return geometry, np.arange(len(frame))
    parts, owners = single(geometry)
    moved, near = brought(parts, frame.crs, grid)
    if moved is parts:
        return geometry, np.arange(len(frame))
    numbers, first, counts = np.unique(owners[near], return_index=True, return_counts=True)
    found = np.asarray(moved[first], object)
    for place in np.flatnonzero(counts > 1):
        found[place] = shapely.union_all(shapely.make_valid(moved[first[place] : first[place] + counts[place]]))
    return found, numbers


def _same_crs(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return bool(one == other) or CRS.from_user_input(one).equals(CRS.from_user_input(other), ignore_axis_order=True)


def _sized(grid: Grid) -> str:
    return f"{grid.shape[1]} × {grid.shape[0]} px"


def _placed(grid: Grid) -> str:
    a, b, c, d, e, f = tuple(grid.transform)[:6]
    return f"transform ({a:g}, {b:g}, {c:.10g}, {d:g}, {e:g}, {f:.10g})"


def _classes(names: Sequence[str]) -> str:
    return f"class ids from 0 to {len(names) - 1} ({', '.join(names)})"


def _hole(stored: Stored) -> str:
    (nodata,) = stored.nodata
    return ", and no nodata value is declared" if nodata is None else f", or the nodata value {nodata:g}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"{number}: {name}" for number, name in enumerate(names))
