"""Errors of probabilities and the coverage of sets are those of a naive loop over the pixels that count."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quadrat.errors import PredictionError
from quadrat.evaluation.trust import NO_CONFIDENCE, Trust
from quadrat.geo.grids.grid import Grid
from quadrat.prediction.reader import Prediction
from quadrat.prediction.writers import writer_for
from quadrat.tasks.common.outputs import RasterLayer, Rows
from quadrat.tasks.common.parts import layers_of
from quadrat.tasks.common.reliability import BINS, Coverage, Reliability
from quadrat.tasks.semantic_segmentation.section import SegmentationLayers
from tests.ground import KINDS, NORTH_UP, UTM, segmentation, write_raster
from tests.pipeline.test_eval import AOIS, SHAPE, labelled, predicted, run, write_ground


def naive(probable: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error by its definition."""
    total = 0.0
    for number in range(BINS):
        low, high = number / BINS, (number + 1) / BINS
        mine = (probable >= low) & ((probable < high) | (number == BINS - 1))
        if mine.any():
            total += abs(probable[mine].mean() - right[mine].mean()) * mine.mean()
    return total


def test_the_error_is_that_of_a_naive_loop_and_counts_add_up() -> None:
    generator = np.random.default_rng(1)
    steps = generator.integers(60, 251, 5000).astype(np.uint8)
    right = generator.random(5000) < steps / 300
    found = Reliability.of(steps[:3000], right[:3000]) + Reliability.of(steps[3000:], right[3000:])
    assert found.error == pytest.approx(naive(steps / 250, right), abs=1e-12)
    assert found.bins()[:, 0].sum() == 5000
    assert Reliability.none().error is None


def test_probabilities_that_are_right_as_often_as_they_say_have_no_error() -> None:
    generator = np.random.default_rng(2)
    steps = generator.integers(0, 251, 200_000).astype(np.uint8)
    found = Reliability.of(steps, generator.random(len(steps)) < steps / 250)
    assert found.error == pytest.approx(0, abs=0.01)


def test_coverage_is_counted_by_class() -> None:
    truth = np.array([0, 0, 1, 2, 2], np.uint8)
    sets = np.array([[1, 0, 1, 0, 1], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0]], bool)
    found = Coverage.of(truth, sets) + Coverage.none(3)
    assert found.covered.tolist() == [0.5, 1, 0.5]
    assert found.sets.tolist() == [1, 3, 1]
    assert np.isnan(Coverage.none(3).covered).all()


def write_doubt(root: Path, scene: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Write the layers of doubt of a scene; return them."""
    generator = np.random.default_rng(seed)
    confidence = generator.integers(80, 251, (2, *SHAPE)).astype(np.uint8)
    sets = generator.integers(0, 2, (4, *SHAPE)).astype(np.uint8)
    sets[3] = sets[:3].sum(0) > 1
    section = SegmentationLayers(kind="semantic_segmentation", confidence=True, conformal=0.1)
    layers = [one for one in layers_of(segmentation(*KINDS)).written(section) if one.name != "labels"]
    for layer, values in zip(layers, (confidence, sets), strict=True):
        assert isinstance(layer, RasterLayer)
        with writer_for(layer, Grid(UTM, NORTH_UP, SHAPE), root / "predictions" / scene, {}) as writer:
            writer.write(Rows(layer.name, 0, 0, values))
    return confidence, sets


def test_eval_measures_what_test_scenes_hold(tmp_path: Path) -> None:
    catalog = write_ground(tmp_path)
    scene = "e"
    confidence, sets = write_doubt(tmp_path, scene, 3)
    found = run(tmp_path, catalog, baseline=None)
    part = (slice(None), AOIS[scene])
    truth, ids = labelled()[part], predicted(1)[part]
    counted = (truth < 255) & (ids < 255)
    right = (truth == ids)[counted]
    before, after = (naive(one[part][counted] / 250, right) for one in confidence[::-1])
    assert found["calibration"] == {
        "ece": pytest.approx(after, abs=6e-5),
        "ece_uncalibrated": pytest.approx(before, abs=6e-5),
    }
    shares = [float(sets[number][part][counted & (truth == number)].mean()) for number in (0, 1)]
    assert found["sets"] == {
        "promised": 0.9,
        "covered": pytest.approx(np.mean(shares), abs=6e-5),
        "covered_lowest": pytest.approx(min(shares), abs=6e-5),
        "several": pytest.approx(sets[3][part][counted].mean(), abs=6e-5),
    }
    table = pd.read_csv(tmp_path / "reliability.csv")
    assert len(table) == BINS
    assert table["calibrated_count"].sum() == table["uncalibrated_count"].sum() == counted.sum()
    page = (tmp_path / "report.html").read_text()
    assert "Reliable probabilities lie on the diagonal" in page
    assert "whose set of classes holds the truth" in page


def test_without_the_layer_figures_are_null_and_it_is_said_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(tmp_path, write_ground(tmp_path), baseline=None)
    assert found["calibration"] == {"ece": None, "ece_uncalibrated": None}
    assert "sets" not in found
    assert NO_CONFIDENCE in (tmp_path / "report.html").read_text()
    assert "predict.layers.confidence" in capsys.readouterr().err
    assert len(pd.read_csv(tmp_path / "reliability.csv")) == 0
    assert json.loads((tmp_path / "eval.json").read_text())["overall"]["support"]


@pytest.mark.parametrize("values", [np.zeros((3, *SHAPE), np.uint8), np.zeros((1, *SHAPE), np.uint16)])
def test_a_layer_of_another_form_is_an_error(tmp_path: Path, values: np.ndarray) -> None:
    catalog = write_ground(tmp_path)
    write_raster(tmp_path / "predictions/e/confidence.tif", values, nodata=255)
    with pytest.raises(PredictionError, match=r"holds no probabilities(.|\n)*1 or 2 bands of bytes"):
        run(tmp_path, catalog, baseline=None)


def test_a_scene_without_the_layer_tells_nothing_of_itself(tmp_path: Path) -> None:
    with Prediction(tmp_path, Grid(UTM, NORTH_UP, SHAPE), "e") as prediction:
        assert prediction.about("conformal") == {}
    assert Trust.none().metrics() == {"calibration": {"ece": None, "ece_uncalibrated": None}}
