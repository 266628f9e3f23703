"""Uncertainty is 0 where one class has all, 1 where all have the same, and in between what NumPy and SciPy say."""

from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from quadrat.geo.grids.tiling import Blended
from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.parts import layers_of
from quadrat.tasks.semantic_segmentation.section import SegmentationLayers
from tests.ground import segmentation

TASK = segmentation("a", "b", "c")


def drawn() -> np.ndarray:
    """Return scores (class, y, x) of every kind: sure, at odds, and whatever."""
    scores = np.random.default_rng(1).dirichlet([0.5] * 3, (20, 30)).transpose(2, 0, 1)
    scores[:, 0, 0], scores[:, 0, 1], scores[:, 0, 2] = (1, 0, 0), (1 / 3, 1 / 3, 1 / 3), (0.5, 0.5, 0)
    return scores.astype(np.float32)


def decided(measure: Any, scores: np.ndarray, covered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the layer as the processor and as a device decides it."""
    section = SegmentationLayers(kind="semantic_segmentation", uncertainty=measure)
    decisions: Any = layers_of(TASK).canvas(section, Window(0, 0, 20, 30), 16, 16, (20, 30))._decisions
    here = decisions.decide(Blended(0, 0, scores, covered))["uncertainty"]
    there = decisions.decide_tensors(torch.from_numpy(scores), torch.from_numpy(covered))["uncertainty"]
    return here, there.numpy()


@pytest.mark.parametrize("measure", ["margin", "entropy"])
def test_it_is_that_of_the_scores(measure: str) -> None:
    scores, covered = drawn(), np.ones((20, 30), np.bool_)
    covered[5, 5] = False
    ordered = np.sort(scores, 0)
    expected = {
        "margin": 1 - (ordered[2] - ordered[1]),
        "entropy": scipy.stats.entropy(scores.astype(float), base=3, axis=0),
    }[measure]
    for found in decided(measure, scores, covered):
        assert found.dtype == np.uint8
        assert found[5, 5] == 255
        np.testing.assert_allclose(found[covered] / 250, expected[covered], atol=0.0021)
        assert found[0, 0] == 0
        assert found[0, 1] == 250
        assert found[0, 2] == (250 if measure == "margin" else round(250 * np.log(2) / np.log(3)))


def test_processor_and_device_differ_in_rounding_at_most() -> None:
    for measure in ("margin", "entropy"):
        here, there = decided(measure, drawn(), np.ones((20, 30), np.bool_))
        assert np.abs(here.astype(int) - there).max() <= 1


def test_the_layer_says_its_measure_and_scale() -> None:
    section = SegmentationLayers(kind="semantic_segmentation", uncertainty="margin")
    written = {layer.name: layer for layer in layers_of(TASK).written(section)}
    assert written["uncertainty"].bands == ("margin",)  # type: ignore[union-attr]
    assert written["uncertainty"].scale == pytest.approx(1 / 250)  # type: ignore[union-attr]
    assert [layer.name for layer in layers_of(TASK).written(section.plain())] == ["labels"]
