"""What predict wrote is read back on the scene's grid."""

from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS

from quadrat.errors import PredictionError
from quadrat.layers import writer_for
from quadrat.predictions import Prediction
from quadrat.scenes.grid import Grid
from quadrat.tasks.outputs import Features, RasterLayer, Rows, VectorLayer
from quadrat.windows import Window
from tests.ground import NORTH_UP, UTM, pixel_box, write_areas

TURNED = NORTH_UP @ Affine.rotation(20)
GRIDS = [
    Grid(CRS.from_user_input(UTM), NORTH_UP, (60, 80)),
    Grid(CRS.from_user_input(UTM), TURNED, (60, 80)),
    Grid(CRS.from_user_input("EPSG:4326"), Affine(1e-4, 0, 12, 0, -1e-4, 52), (60, 80)),
    Grid(None, Affine.identity(), (60, 80)),
]


@pytest.mark.parametrize("grid", GRIDS)
def test_rows_are_what_was_written(tmp_path: Path, grid: Grid) -> None:
    values = np.random.default_rng(0).integers(0, 9, (1, 60, 80)).astype(np.uint8)
    with writer_for(RasterLayer("labels", "uint8", ("class",), 255), grid, tmp_path, {}) as writer:
        writer.write(Rows("labels", 0, 0, values))
    with Prediction(tmp_path, grid, "s") as prediction:
        np.testing.assert_array_equal(prediction.rows("labels", Window(7, 11, 30, 40)), values[:, 7:37, 11:51])


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ending", ["parquet", "gpkg", "geojson", "fgb"])
def test_features_are_what_was_written_in_pixel_coordinates(tmp_path: Path, grid: Grid, ending: str) -> None:
    geometry = shapely.box(np.array([3.0, 20]), np.array([4.0, 10]), np.array([9.0, 50]), np.array([8.0, 55]))
    fields = {"class": np.array(["a", "b"], object), "score": np.array([0.5, 0.25], np.float32)}
    with writer_for(VectorLayer("found", f"found.{ending}"), grid, tmp_path, {}) as writer:
        writer.write(Features("found", geometry, fields))
    with Prediction(tmp_path, grid, "s") as prediction:
        found = prediction.features("found")
    order = np.argsort(found.fields["class"])
    for mine, theirs in zip(geometry, found.geometry[order], strict=True):
        assert shapely.hausdorff_distance(mine, theirs) < 1e-2
    assert list(found.fields["score"][order]) == [0.5, 0.25]


def test_features_of_windows_are_read_once_and_are_those_that_meet_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, cols = np.mgrid[0:60:5, 0:80:5].reshape(2, -1).astype(float)
    fields = {"number": np.arange(len(rows))}
    with writer_for(VectorLayer("found", "found.parquet"), GRIDS[0], tmp_path, {}) as writer:
        writer.write(Features("found", shapely.box(cols, rows, cols + 7, rows + 7), fields))
    with Prediction(tmp_path, GRIDS[0], "s") as prediction:
        everything = prediction.features("found")
        monkeypatch.setattr("geopandas.read_parquet", None)
        for window in (Window(5, 5, 5, 5), Window(0, 3, 60, 1), Window(200, 0, 5, 5), Window(0, 0, 60, 80)):
            found = prediction.features("found", window)
            met = (rows < window.bottom) & (rows + 7 > window.row) & (cols < window.right) & (cols + 7 > window.col)
            assert found.fields["number"].tolist() == np.flatnonzero(met).tolist()
            assert len(found.geometry) == met.sum()
        assert len(everything.geometry) == len(rows)


@pytest.mark.parametrize(
    ("file", "crs", "said"), [("found.gpkg", None, "another grid"), ("other.gpkg", UTM, "no prediction")]
)
def test_features_that_are_missing_or_nowhere_are_an_error(
    tmp_path: Path, file: str, crs: str | None, said: str
) -> None:
    write_areas(tmp_path / file, [pixel_box(0, 0, 5, 5)], crs=crs)
    with (
        Prediction(tmp_path, GRIDS[0], "s") as prediction,
        pytest.raises(PredictionError, match=rf"{said}(.*\n)*  scene: s\n  file: .*found"),
    ):
        prediction.features("found")


def test_features_that_are_damaged_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "found.parquet").write_bytes(b"PAR1 no")
    with Prediction(tmp_path, GRIDS[0], "s") as prediction, pytest.raises(PredictionError, match="vector data"):
        prediction.features("found")
