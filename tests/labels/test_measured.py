"""Labels that are a raster's values themselves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from pydantic import ValidationError

from quadrat.errors import LabelError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.labels.labels import Labels, open_labels
from quadrat.labels.raster import RasterLabels
from quadrat.labels.vector import VectorLabels
from quadrat.tasks import TaskSection
from tests.ground import NORTH_UP, UTM, pixel_box, regression, segmentation, write_areas, write_raster

TASK = regression("height")
GRID = Grid(rasterio.crs.CRS.from_string(UTM), NORTH_UP, (6, 8))


def labelled(path: Path, task: TaskSection = TASK, *others: Path, **options: Any) -> np.ndarray:
    """Return the values of labels on a grid of 6 × 8 px, read with a margin of one px."""
    sources = [RasterLabels(kind="raster", path=str(p), values="numbers", **options) for p in (path, *others)]
    with open_labels(sources, GRID, task, "s") as labels:
        assert isinstance(labels, Labels)
        return labels.values(Window(-1, -1, 8, 10))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_labels_are_the_files_numbers_times_its_scale_without_nodata_and_beyond_its_edge(
    tmp_path: Path, dtype: str
) -> None:
    stored = np.arange(48, dtype=dtype).reshape(1, 6, 8)
    path = write_raster(tmp_path / "a.tif", stored, nodata=7)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = [0.5], [10]
    found = labelled(path)
    expected = np.where(stored[0] == 7, np.nan, stored[0] * 0.5 + 10)
    np.testing.assert_array_equal(found[1:-1, 1:-1], expected.astype(np.float32))
    assert np.isnan(found[[0, -1]]).all()
    assert np.isnan(found[:, [0, -1]]).all()
    assert found.dtype == np.float32


def test_numbers_that_are_none_are_unlabelled(tmp_path: Path) -> None:
    values = np.array([np.nan, np.inf, -np.inf, 1e300, -1e300, 3.5, 0, -2]).repeat(6).reshape(1, 8, 6).swapaxes(1, 2)
    found = labelled(write_raster(tmp_path / "a.tif", values))
    np.testing.assert_array_equal(found[3, 1:-1], np.array([np.nan] * 5 + [3.5, 0, -2], np.float32))


def test_labels_on_another_grid_take_the_nearest_value(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    found = labelled(write_raster(tmp_path / "a.tif", values, NORTH_UP @ Affine.scale(2)))
    np.testing.assert_array_equal(found[1:-1, 1:-1], values[0].repeat(2, 0).repeat(2, 1))


def test_of_several_labels_the_first_with_a_value_wins(tmp_path: Path) -> None:
    first, second = np.full((1, 6, 8), 1, np.float32), np.full((1, 6, 8), 2, np.float32)
    first[0, :, 4:] = np.nan
    found = labelled(write_raster(tmp_path / "a.tif", first), TASK, write_raster(tmp_path / "b.tif", second))
    np.testing.assert_array_equal(found[1:-1, 1:-1], [[1] * 4 + [2] * 4] * 6)


def test_numbers_are_no_classes_and_classes_are_no_numbers(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.ones((1, 6, 8), np.uint8))
    with pytest.raises(LabelError, match=r"do not fit the task(.|\n)*ids, or colors"):
        labelled(path, segmentation("1", "2"))
    ids = RasterLabels(kind="raster", path=str(path), values="ids")
    with (
        pytest.raises(LabelError, match=r"do not fit the task(.|\n)*expected: values: numbers"),
        open_labels([ids], GRID, TASK, "s"),
    ):
        pass
    with pytest.raises(ValidationError, match="numbers are not classes"):
        labelled(path, background="height")


def test_features_have_no_values(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "a.gpkg", [pixel_box(0, 0, 4, 4)])
    source = VectorLabels(kind="vector", path=str(path), default="height")
    with open_labels([source], GRID, TASK, "s") as labels:
        assert isinstance(labels, Labels)
        with pytest.raises(LabelError, match="labels with classes have no values"):
            labels.values(GRID.area)
