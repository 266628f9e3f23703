"""Errors of probabilities and the coverage of sets are those of a naive loop over the pixels that count."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quadrat.errors import PredictionError
from quadrat.evaluation.trust import NO_CONFIDENCE, Trust
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.prediction.reader import Prediction
from quadrat.prediction.writers import writer_for
from quadrat.tasks.chip_classification.scoring.multilabel_counts import Presence
from quadrat.tasks.common.calibration import Calibration
from quadrat.tasks.common.outputs import Features, RasterLayer, Rows
from quadrat.tasks.common.parts import layers_of, scoring_of
from quadrat.tasks.common.reliability import BINS, Coverage, Reliability
from quadrat.tasks.object_detection.scoring.counts import BoxCounts
from quadrat.tasks.object_detection.targets.detections import Detections
from quadrat.tasks.object_detection.targets.matching import Seen, matched
from quadrat.tasks.semantic_segmentation.section import SegmentationLayers
from tests.ground import KINDS, NORTH_UP, UTM, cells, detection, segmentation, write_raster
from tests.pipeline.test_eval import AOIS, SHAPE, labelled, predicted, run, write_ground
from tests.tasks.patches import layers


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
    made = [one for one in layers_of(segmentation(*KINDS)).written(section) if one.name != "labels"]
    for layer, values in zip(made, (confidence, sets), strict=True):
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


def test_cells_and_boxes_are_counted_by_their_scores() -> None:
    generator = np.random.default_rng(7)
    boxes = generator.uniform(0, 80, (30, 2)).repeat(2, 0).reshape(30, 4) + np.array([0, 0, 10, 10])
    class_ids, scores = generator.integers(0, 2, 30).astype(np.uint8), generator.random(30, np.float32)
    truth = np.where(generator.random(30) < 0.2, 255, class_ids).astype(np.uint8)
    seen = Seen(boxes[:20], truth[:20], Detections(boxes, class_ids, scores, scores**2))
    counts = BoxCounts((seen,), 2, 0.5, 0.5)
    none: Any = None
    found = scoring_of(detection("tree", "house")).reliability(none, none, counts)
    matches = matched(seen, 0.5)
    known = ~matches.absorbed
    assert 0 < known.sum() < 30
    for name, some in (("calibrated", scores), ("uncalibrated", scores**2)):
        expected = naive(np.rint(some[known] * 250) / 250, matches.truth[known] >= 0)
        assert found[name].error == pytest.approx(expected, abs=1e-6)
    present = np.array([[1, 0], [255, 1]], np.uint8)
    presence = Presence(present, np.array([[1, 0], [0.5, 1]], np.float32))
    several = scoring_of(cells("a", "b", multi_label=True)).reliability(none, none, presence)
    assert several["calibrated"].error == 0
    assert several["calibrated"].counts[0].sum() == 3


def test_vector_files_tell_scores_before_calibration() -> None:
    heat = Calibration(temperatures=(2.0, 0.5), exclusive=False)
    section = layers(min_score=0.3)
    canvas = layers_of(detection("tree", "house"), heat).canvas(section, Window(0, 0, 32, 32), 32, 32, (32, 32))
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.2, 0.3]], np.float32)
    boxes = np.array([[1, 1, 9, 9], [12, 12, 20, 20], [22, 22, 30, 30]], np.float32)
    parts = [*canvas.paste(Window(0, 0, 32, 32), {"scores": scores, "boxes": boxes}, np.ones((32, 32), bool))]
    found = [*parts, *canvas.close()][-1]
    assert isinstance(found, Features)
    assert found.fields["uncalibrated"].tolist() == pytest.approx([0.8, 0.9])
    assert found.fields["score"].tolist() == pytest.approx([0.64 / (0.64 + 0.04), 3 / 4])  # 0.3 is 0.16 by 0.5
    assert found.fields["class"].tolist() == ["house", "tree"]
