"""Scores in Python are those of the stage eval, and of arrays those of scikit-learn."""

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import sklearn.metrics
import xarray

import quadrat
from quadrat.api.scenes import Scene
from quadrat.errors import ImageError, LabelError, ParamsError, PredictionError
from quadrat.labels.vector import VectorLabels
from quadrat.scenes import scene as parts
from quadrat.tasks.common.metrics import rounded
from tests.ground import UTM, cells, detection, image, pixel_box, regression, segmentation, write_areas, write_raster

TASK = segmentation("wood", "lake", "field")


def ids(seed: int, shape: tuple[int, int] = (40, 50)) -> np.ndarray:
    found = np.random.default_rng(seed).integers(0, 3, shape)
    found[np.random.default_rng(seed + 1).random(shape) < 0.1] = 255
    return found


def test_a_folder_of_layers_has_the_scores_of_eval() -> None:
    committed = json.loads(Path("metrics/eval.json").read_text())
    with quadrat.open_scene("east") as east, quadrat.open_scene("middle") as middle:
        test, validation = (quadrat.evaluate(f"data/predictions/{s.id}", s) for s in (east, middle))
    assert rounded(test.overall) == committed["overall"]
    assert rounded(validation.counts.summary()) == committed["validation"]
    assert [*test.classes] == ["wood", "lake", "field"]
    both = test + validation
    assert both.overall["support"] == test.overall["support"] + validation.overall["support"]


def test_layers_in_memory_and_in_files_score_the_same(tmp_path: Path) -> None:
    predictor = quadrat.load("models/bundle.zip", runtime="onnx", layers={"scores": True})
    with quadrat.open_scene("east") as scene:
        held, stored = predictor.predict(scene.to_xarray()), predictor.predict(scene.to_xarray(), tmp_path)
        found = [quadrat.evaluate(p, scene).counts for p in (held, stored, held["labels"], held["labels"].values)]
        assert all(counts == found[0] for counts in found)
        assert found[0].summary()["support"] == 4800


def test_scores_of_different_tasks_are_not_added() -> None:
    one, other = (quadrat.evaluate(ids(3), ids(1), task) for task in (TASK, segmentation("tree", "pond", "crop")))
    assert (one + one).overall["support"] == 2 * one.overall["support"]
    with pytest.raises(ParamsError, match="different tasks can't be added"):
        one + other


def test_arrays_score_as_scikit_learn_scores_them() -> None:
    truth, predicted = ids(1), ids(3)
    scores = quadrat.evaluate(predicted, truth, TASK)
    counted = (truth != 255) & (predicted != 255)
    matrix = sklearn.metrics.confusion_matrix(truth[counted], predicted[counted])
    np.testing.assert_array_equal(scores.counts.confused(), matrix)
    macro = sklearn.metrics.f1_score(truth[counted], predicted[counted], average="macro")
    assert scores.overall["macro_f1"] == pytest.approx(macro)
    assert scores.classes["lake"]["support"] == matrix[1].sum()


def test_a_task_may_be_what_the_parameters_say() -> None:
    section = {
        "kind": "semantic_segmentation",
        "classes": [{"name": name, "color": "#000000"} for name in ("a", "b", "c")],
    }
    assert [*quadrat.evaluate(ids(1), ids(3), section).classes] == ["a", "b", "c"]
    with pytest.raises(ParamsError, match="did you mean 'classes'"):
        quadrat.evaluate(ids(1), ids(3), {**section, "clases": []})


def test_values_score_by_their_errors() -> None:
    truth = np.random.default_rng(0).uniform(0, 40, (30, 20))
    truth[0] = np.nan
    found = quadrat.evaluate(truth + np.where(np.arange(20) % 2, 1.0, 3.0), truth, regression("height")).overall
    assert found["support"] == 29 * 20
    assert found["mae"] == pytest.approx(2, abs=1e-5)
    assert found["bias"] == pytest.approx(2, abs=1e-5)


def placed(values: Any, **attributes: Any) -> xarray.DataArray:
    return xarray.DataArray(values, dims=("y", "x"), attrs=attributes)


def test_the_nodata_value_of_a_dataarray_is_no_label() -> None:
    """As rioxarray opens rasters: with the value of missing pixels in place, which it names."""
    heights = np.random.default_rng(0).uniform(0, 40, (30, 20)).astype(np.float32)
    holes = np.where(np.arange(20) < 5, np.float32(-9999), heights)
    task = regression("height")
    expected = quadrat.evaluate(heights + 1, np.where(holes == -9999, np.nan, heights), task)
    assert expected.overall["support"] == 30 * 15
    assert quadrat.evaluate(heights + 1, placed(holes, _FillValue=-9999.0), task).counts == expected.counts
    unpredicted = quadrat.evaluate(placed(holes, _FillValue=-9999.0), heights, task).overall
    assert (unpredicted["mae"], unpredicted["unpredicted"]) == (0, 0.25)

    truth, predicted = ids(1) % 255, ids(3)
    without = quadrat.evaluate(predicted, np.where(truth == 0, 255, truth), TASK)
    for kind, none in ((np.uint8, 0), (np.int8, -1), (np.int16, -1), (np.uint16, 65535)):
        stored = np.where(truth == 0, none, truth).astype(kind)
        assert quadrat.evaluate(predicted, placed(stored, _FillValue=none), TASK).counts == without.counts
    with pytest.raises(PredictionError, match="nodata value is a class id"):
        quadrat.evaluate(placed(predicted, _FillValue=0), truth, TASK)


def test_raw_values_of_another_scale_are_refused() -> None:
    values = np.ones((3, 4))
    with pytest.raises(ImageError, match=r"raw values(.|\n)*scale_factor 0.1"):
        quadrat.evaluate(values, placed(values * 10, scale_factor=0.1), regression("height"))


def test_boxes_in_memory_score_against_the_labels(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.ones((1, 60, 60), np.uint8))
    boxes = [pixel_box(3, 4, 13, 14), pixel_box(30, 30, 45, 40)]
    source = VectorLabels(
        kind="vector", path=str(write_areas(tmp_path / "l.gpkg", boxes, {"kind": ["tree"] * 2})), field="kind"
    )
    found = geopandas.GeoDataFrame(
        {"class": ["tree", "tree"], "score": [0.9, 0.8]}, geometry=[boxes[1], pixel_box(50, 2, 58, 9)], crs=UTM
    )
    with Scene(parts.Scene("a", "test", image(path), (source,), ()), ["a"], detection("tree")) as scene:
        scores = quadrat.evaluate({"detections": found}, scene).classes["tree"]
        with pytest.raises(PredictionError, match="are no array"):
            quadrat.evaluate(np.zeros((60, 60), np.uint8), scene)
    assert (scores["precision"], scores["recall"]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("predicted", "truth", "task", "error", "message"),
    [
        (ids(1), ids(1)[1:], TASK, PredictionError, "another grid"),
        (ids(1) + 1, ids(1), TASK, PredictionError, "not class ids"),
        (ids(1), np.where(ids(1) == 0, 77, ids(1)), TASK, LabelError, "77"),
        (ids(1).astype(float), ids(1), TASK, PredictionError, "holds no class ids"),
        (ids(1), ids(1), None, ParamsError, "don't say which task"),
        (ids(1)[None], ids(1), TASK, PredictionError, "no prediction"),
        (ids(1), ids(1), cells("a", "b", "c"), PredictionError, "are no array"),
        (ids(1), ids(1)[0], TASK, ImageError, "another shape"),
    ],
)
def test_what_cant_be_scored_is_refused(predicted: Any, truth: Any, task: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        quadrat.evaluate(predicted, truth, task)
    assert str(raised.value.file or "the").startswith("the")  # and not a file of ours


def test_predictions_of_another_place_or_other_classes_are_refused() -> None:
    with quadrat.open_scene("east") as scene, rasterio.open("data/predictions/east/labels.tif") as file:
        view = scene.to_xarray()[0].astype(np.uint8).copy(data=file.read(1)).load()
        moved = view.assign_coords(x=view["x"] + 10)
        with pytest.raises(PredictionError, match="another grid"):
            quadrat.evaluate(moved, scene)
        with pytest.raises(PredictionError, match="other classes"):
            quadrat.evaluate(view.assign_attrs(classes=("lake", "wood", "field")), scene)
        with pytest.raises(ParamsError, match="another than the scene's"):
            quadrat.evaluate(view, scene, segmentation("wood", "lake", "moor"))
    with quadrat.open_scene("tile") as scene, pytest.raises(LabelError, match="no labels"):
        quadrat.evaluate("data/predictions/tile", scene)
