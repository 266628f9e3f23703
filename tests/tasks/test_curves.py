"""Curves of precision over recall are those whose area is the average precision."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.chip_classification.scoring.multilabel_counts import Presence
from quadrat.tasks.common.metrics import Confusion
from quadrat.tasks.object_detection.scoring.counts import BoxCounts
from quadrat.tasks.object_detection.scoring.resampling import RECALLS
from quadrat.tasks.pixel_regression.scoring.errors import Errors
from tests.tasks.boxes.scenes import drawn


def test_curves_of_cells_are_scikit_learns() -> None:
    generator = np.random.default_rng(1)
    truth = generator.choice(np.array([0, 1, IGNORE], np.uint8), (60, 3))
    truth[:, 2] = 0
    scores = generator.random((60, 3), np.float32).round(1)
    curves = Presence(truth, scores).curves()
    for number in (0, 1):
        asked = truth[:, number] != IGNORE
        precision, recall, _ = precision_recall_curve(truth[asked, number], scores[asked, number])
        np.testing.assert_allclose(curves[number], np.column_stack([recall, precision])[-2::-1])
    assert curves[2].shape == (0, 2)


@pytest.mark.parametrize("seed", range(4))
def test_curves_of_boxes_have_the_average_precision(seed: int) -> None:
    image = drawn(seed, 40, side=60)
    counts = BoxCounts((image,), 3, 0.5, 0.3)
    for curve, metrics in zip(counts.curves(), counts.per_class(), strict=True):
        if not len(curve):
            assert not metrics["ap50"]
            continue
        best = np.maximum.accumulate(np.append(curve[:, 1], 0)[::-1])[::-1]
        assert best[np.searchsorted(curve[:, 0], RECALLS)].mean() == pytest.approx(metrics["ap50"], abs=1e-9)


def test_tasks_without_scores_have_no_curves() -> None:
    assert Confusion.none(3).curves() == Errors().curves() == []
    assert [len(curve) for curve in BoxCounts((), 2, 0.5, 0.3).curves()] == [0, 0]
