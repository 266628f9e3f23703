"""Values of pixels: their errors, and all stages from images to the bundle on a new image."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from quadrat.errors import ParamsError, PredictionError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.params import Params, check_params
from quadrat.prediction.reader import Prediction
from quadrat.serving.apply import apply, verify
from quadrat.serving.new_images import Reading
from quadrat.serving.ready import Plan
from quadrat.tasks.common.parts import class_loss_of, scoring_of
from quadrat.tasks.pixel_regression.scoring.errors import Errors, compared
from tests.ground import BANDS, NORTH_UP, UTM, regression, smooth, write_raster, write_world
from tests.tasks.test_cells_end_to_end import PATHS, STAGES, run

TASK = regression("height")
SHAPE = (120, 200)
GRID = Grid(rasterio.crs.CRS.from_string(UTM), NORTH_UP, (6, 8))


def test_metrics_are_those_of_scikit_learn_however_pixels_are_put_together() -> None:
    generator = np.random.default_rng(1)
    truth = (2000 + generator.normal(0, 3, 5000)).astype(np.float32)  # a high mean, of which the spread is small
    predicted = (truth + generator.normal(0.5, 1, 5000)).astype(np.float32)
    parts = np.split(np.arange(5000), [0, 1, 700, 4100])
    total = sum((compared(truth[some], [predicted[some]])[0] for some in parts), Errors())
    exact = truth.astype(float), predicted.astype(float)
    assert total.summary() == pytest.approx(
        {
            "mae": mean_absolute_error(*exact),
            "rmse": mean_squared_error(*exact) ** 0.5,
            "bias": (exact[1] - exact[0]).mean(),
            "r2": r2_score(*exact),
            "support": 5000,
        },
        rel=1e-9,
    )


def test_no_model_of_single_pixels_learns_values() -> None:
    with pytest.raises(TypeError, match="pixels have no classes in the task pixel_regression"):
        class_loss_of(TASK)


def test_what_is_undefined_is_none() -> None:
    assert Errors().overall() == {
        "mae": None, "rmse": None, "bias": None, "r2": None, "support": 0, "unpredicted": None
    }  # fmt: skip
    same = np.full(1000, 0.1, np.float32)
    flat = compared(same, [same + 1])[0] + compared(same, [same])[0]
    assert flat.summary()["r2"] is None
    assert flat.summary()["mae"] == pytest.approx(0.5)


def test_what_one_prediction_lacks_counts_for_none() -> None:
    truth = np.array([1, 2, 3, np.nan], np.float32)
    one, other = compared(truth, [truth + 1, np.array([1, np.nan, 4, 4], np.float32)])
    assert (one.pixels, one.absolute, one.unpredicted) == (2, 2, 1)
    assert (other.pixels, other.absolute, other.unpredicted) == (2, 1, 1)


def test_pictures_paint_steps_of_the_range_and_what_lies_beyond_in_the_outer_ones() -> None:
    scoring = scoring_of(TASK)
    assert [step.name for step in scoring.painted][::7] == ["0 to 5", "35 to 40"]
    assert scoring.painted[-1].color == TASK.classes[0].color
    values = np.array([[-3, 0, 4.9, 5, 39, 40, 99, np.nan]], np.float32)
    assert scoring._steps(values).tolist() == [[0, 0, 0, 1, 7, 7, 7, 255]]  # type: ignore[attr-defined]


def test_predictions_of_others_are_read_with_their_scale_and_nodata(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "values.tif", np.arange(48, dtype=np.uint8).reshape(1, 6, 8), nodata=0)
    with rasterio.open(path, "r+") as file:
        file.scales = [0.25]
    with Prediction(tmp_path, GRID, "s") as made:
        assert made.values("values", Window(0, 0, 1, 8)).tolist()[0][1:] == [n / 4 for n in range(1, 8)]
        assert np.isnan(made.values("values", Window(0, 0, 1, 1))).all()
        with pytest.raises(PredictionError, match="a scene has no prediction"):
            made.values("other", Window(0, 0, 1, 8))


def content(catalog: Path, **changes: Any) -> dict[str, Any]:
    return {
        "scenes": str(catalog),
        "raw": str(catalog.parent),
        "aoi": str(catalog.parent),
        "seed": 1,
        "task": TASK.model_dump(mode="json", by_alias=True),
        "bands": list(BANDS),
        "analyze": {},
        "chip": {"chip_size": 32, "windows": {"kind": "sliding", "stride": 16}},
        "model": {
            "kind": "segmenter",
            "architecture": "unet",
            "encoder": "resnet10t",
            "depth": 3,
            "decoder": {"decoder_channels": [16, 8, 8]},
        },
        "baseline": None,
        "lr": 0.01,
        "epochs": 8,
        "batch_size": 8,
        "train": {"augment": {"flip_rotate": True}},
        "predict": {"window_size": 64, "stride": 32, "layers": {}},
        "eval": {"pictures": {"longest_side": 256, "bands": ["B1"]}},
        "bundle": {"title": "Heights"},
        **changes,
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Params]:
    """Return a project whose heights are what its image shows, through all stages."""
    root = tmp_path_factory.mktemp("heights")
    catalog = write_world(root)
    heights = (40 * smooth(SHAPE, 3)).astype(np.float32)
    pixels = 1000 + 100 * heights + np.random.default_rng(2).normal(0, 50, (3, *SHAPE))
    write_raster(root / "image.tif", pixels.astype(np.uint16), nodata=0)
    heights[:, 50:60] = np.nan
    write_raster(root / "heights.tif", heights[None])
    said = json.loads(catalog.read_text())
    said["labels"] = {"l": {"kind": "raster", "path": str(root / "heights.tif"), "values": "numbers"}}
    catalog.write_text(json.dumps(said))
    params = check_params(content(catalog), root / "params.yaml")
    run(root, params, *STAGES, "bundle")
    return root, params


@pytest.mark.slow
def test_eval_says_of_a_learnt_field_of_heights_what_its_files_say(project: tuple[Path, Params]) -> None:
    root, _ = project
    with rasterio.open(root / PATHS["predictions"] / "e" / "values.tif") as file:
        assert (file.dtypes, file.descriptions) == (("float32",), ("height",))
        assert np.isnan(file.nodata)
        assert np.isnan(file.read(1)[:, :160]).all()
        predicted = file.read(1)[:, 160:].astype(float)
    with rasterio.open(root / "heights.tif") as file:
        truth = file.read(1)[:, 160:].astype(float)
    found = json.loads((root / PATHS["eval_metrics"]).read_text())
    assert found["overall"] == {
        "mae": pytest.approx(mean_absolute_error(truth.ravel(), predicted.ravel()), abs=1e-4),
        "rmse": pytest.approx(mean_squared_error(truth.ravel(), predicted.ravel()) ** 0.5, abs=1e-4),
        "bias": pytest.approx((predicted - truth).mean(), abs=1e-4),
        "r2": pytest.approx(r2_score(truth.ravel(), predicted.ravel()), abs=1e-4),
        "support": truth.size,
        "unpredicted": 0,
    }
    assert found["overall"]["r2"] > 0.8
    assert found["baseline"] == {}
    assert (root / PATHS["confusion"]).read_text() == "truth,predicted,count\n"
    assert (root / PATHS["pictures"] / "e.png").stat().st_size > 1000
    labels = {
        split: about["labels"] for split, about in json.loads((root / PATHS["analyze_metrics"]).read_text()).items()
    }
    assert labels == {"train": 100 * 120, "validation": 40 * 120, "test": 40 * 120, "predict": 0}


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_the_bundle_gives_the_values_that_predict_gives(
    project: tuple[Path, Params], tmp_path: Path, runtime: Any
) -> None:
    root, _ = project
    verify(root / PATHS["bundle_file"])
    apply(root / PATHS["bundle_file"], [str(root / "image.tif")], tmp_path, Reading(BANDS, 0.0001, 0.0), Plan(runtime))
    with (
        rasterio.open(tmp_path / "image" / "values.tif") as new,
        rasterio.open(root / PATHS["predictions"] / "all" / "values.tif") as made,
    ):
        np.testing.assert_allclose(new.read(), made.read(), atol=1e-3)
        assert new.crs == made.crs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"baseline": {"kind": "forest", "trees": 5, "radius": 1, "samples": 100}},
            "baseline.kind forest can't learn this task, pixel_regression: no kind can, so it must be null",
        ),
        (
            {"train": {"loss": {"dice": 1.0}}},
            "train.loss is of semantic_segmentation, and task.kind is pixel",
        ),
        ({"task": {"kind": "pixel_regression", "classes": [], "range": [0, 1]}}, "classes"),
        (
            {"task": {**TASK.model_dump(mode="json", by_alias=True), "range": [2, 2]}},
            "range takes two values, the lower one first",
        ),
    ],
)
def test_what_is_wrong_with_parameters_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        check_params(content(tmp_path / "scenes.yaml", **changes), tmp_path / "params.yaml")
