"""What predict wrote for a scene, read back on the scene's grid: by window, or by feature."""

import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import geopandas
import numpy as np
import pyogrio
import rasterio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterioWindow

from quadrat.errors import PredictionError
from quadrat.scenes.grid import SHIFT, Grid
from quadrat.tasks.outputs import Features
from quadrat.windows import Window

MEND = "run the stage 'predict' again"


class Prediction:
    """A scene's folder of layers. A context manager: files open on first use and close at the end."""

    def __init__(self, folder: Path, grid: Grid, scene: str) -> None:
        """Read from ``folder``; what lies on another grid than ``grid`` is refused."""
        self._folder, self._grid, self._scene = folder, grid, scene
        self._files = ExitStack()
        self._rasters: dict[str, Any] = {}
        self._vectors: dict[str, tuple[Features, shapely.STRtree]] = {}

    def __enter__(self) -> Self:
        """Return the prediction itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close all files."""
        self._files.close()

    def rows(self, layer: str, window: Window) -> NDArray[Any]:
        """Return a raster layer's values (band, y, x), raw, of a window that lies within the grid.

        Raises PredictionError where the layer is missing, damaged or on another grid.
        """
        path = self._folder / f"{layer}.tif"
        if layer not in self._rasters:
            self._rasters[layer] = self._open(path)
        try:
            values: NDArray[Any] = self._rasters[layer].read(
                window=RasterioWindow(window.col, window.row, window.width, window.height)
            )
        except RasterioError as cause:
            raise PredictionError(
                "the prediction can't be read: the file is damaged or cut short",
                self._scene,
                path,
                window,
                got=cause,
                mend=MEND,
            ) from cause
        return values

    def features(self, layer: str, window: Window | None = None) -> Features:
        """Return a vector layer's features, whatever its format, in pixel coordinates of the grid.

        All of them, or those whose bounds share some area with a window; the file is read once. Raises
        PredictionError where the layer is missing, damaged or without a CRS where the scene has one.
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
        return Features(layer, features.geometry[some], {name: v[some] for name, v in features.fields.items()})

    def _read(self, layer: str) -> Features:
        path = next(iter(sorted(self._folder.glob(f"{layer}.*"))), None)
        if path is None:
            raise self._missing(self._folder / f"{layer}.*")
        try:
            frame = geopandas.read_parquet(path) if path.suffix == ".parquet" else pyogrio.read_dataframe(path)
        except (DataSourceError, DataLayerError, ValueError, OSError) as cause:
            raise PredictionError(
                "the prediction can't be read as vector data", self._scene, path, got=cause, mend=MEND
            ) from cause
        # GeoJSON has no way to say that it has no CRS
        crs = None if self._grid.crs is None and path.suffix == ".geojson" else frame.crs
        if (crs is None) != (self._grid.crs is None):
            raise self._elsewhere(path, self._grid.crs, crs)
        if crs is not None:
            frame = frame.to_crs(CRS.from_user_input(self._grid.crs))
        into = ~self._grid.transform
        geometry = shapely.transform(
            frame.geometry.to_numpy(), lambda points: np.column_stack(into @ (points[:, 0], points[:, 1]))
        )
        fields = {name: frame[name].to_numpy() for name in frame.columns if name != frame.geometry.name}
        return Features(layer, geometry, fields)

    def _open(self, path: Path) -> Any:
        if not path.exists():
            raise self._missing(path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a scene may have no CRS
                dataset = self._files.enter_context(rasterio.open(path))
        except RasterioError as cause:
            raise PredictionError("the prediction can't be opened", self._scene, path, got=cause, mend=MEND) from cause
        grid = Grid(dataset.crs, dataset.transform, dataset.shape)
        if grid.shape != self._grid.shape:
            raise self._elsewhere(path, _sized(self._grid), _sized(grid))
        if not _same_crs(grid.crs, self._grid.crs):
            raise self._elsewhere(path, self._grid.crs, grid.crs)
        shift = grid.shift(self._grid)
        if shift > SHIFT:
            raise self._elsewhere(path, _placed(self._grid), f"{_placed(grid)}, off by {shift:.3g} px")
        return dataset

    def _missing(self, path: Path) -> PredictionError:
        return PredictionError("a scene has no prediction", self._scene, path, mend=MEND)

    def _elsewhere(self, path: Path, expected: object, got: object) -> PredictionError:
        expected, got = (("no CRS" if crs is None else crs) for crs in (expected, got))
        return PredictionError(
            "a prediction lies on another grid than its scene", self._scene, path, expected=expected, got=got, mend=MEND
        )


def _same_crs(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return bool(one == other) or CRS.from_user_input(one).equals(CRS.from_user_input(other), ignore_axis_order=True)


def _sized(grid: Grid) -> str:
    return f"{grid.shape[1]} × {grid.shape[0]} px"


def _placed(grid: Grid) -> str:
    a, b, c, d, e, f = tuple(grid.transform)[:6]
    return f"transform ({a:g}, {b:g}, {c:.10g}, {d:g}, {e:g}, {f:.10g})"
