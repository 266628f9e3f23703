"""Metrics of draws of blocks are those of the counts of these blocks added up, and blocks of boxes split no match."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quadrat.geo.grids.blocks import Blocks
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window
from quadrat.tasks.chip_classification.scoring.multilabel_counts import Presence
from quadrat.tasks.common.metrics import Confusion, Counts
from quadrat.tasks.common.parts import scoring_of
from quadrat.tasks.object_detection.scoring.counts import BoxCounts
from quadrat.tasks.object_detection.scoring.resampling import split
from quadrat.tasks.object_detection.targets.detections import Detections
from quadrat.tasks.object_detection.targets.matching import Seen
from quadrat.tasks.pixel_regression.scoring.errors import Errors, compared
from tests.ground import detection
from tests.tasks.boxes.scenes import drawn

PARTS = 5
TIMES = np.array([[1, 1, 1, 1, 1], [0, 3, 0, 2, 0], [0, 0, 0, 0, 5], [2, 0, 1, 1, 1]])


def confusions(generator: np.random.Generator) -> list[Confusion]:
    parts = [Confusion(generator.integers(0, 9, (4, 4)), generator.integers(0, 3, 4)) for _ in range(PARTS)]
    parts[4].matrix[2], parts[4].matrix[:, 2] = 0, 0  # a class that is not there
    return parts


def presences(generator: np.random.Generator) -> list[Presence]:
    truth = generator.choice(np.array([0, 1, IGNORE], np.uint8), (PARTS, 12, 3))
    truth[4, :, 1] = 0
    return [Presence(one, generator.random((12, 3), np.float32).round(1), n) for n, one in enumerate(truth)]


def errors(generator: np.random.Generator) -> list[Errors]:
    truth = generator.normal(50, 9, (PARTS, 8, 8)).astype(np.float32)
    truth[:, 0] = np.nan
    return [compared(one, [one + generator.normal(1, 2, one.shape).astype(np.float32)])[0] for one in truth]


def boxes(generator: np.random.Generator) -> list[BoxCounts]:
    seeds = generator.integers(0, 999, PARTS).tolist()
    images = [untied(drawn(seed, 12 * number, side=30), generator) for number, seed in enumerate(seeds)]
    return [BoxCounts((image,), 3, 0.5, 0.3) for image in images]


def untied(image: Seen, generator: np.random.Generator) -> Seen:
    """Return an image with no two scores alike: equal ones are ordered by image, so by block."""
    scores = generator.random(len(image.found), np.float32)
    return replace(image, found=replace(image.found, scores=scores))


@pytest.mark.parametrize("made", [confusions, presences, errors, boxes])
@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_draws_are_those_of_the_parts_added_up(made: Any, seed: int) -> None:
    parts: list[Counts] = made(np.random.default_rng(seed))
    found = type(parts[0]).resampled(parts, TIMES)
    for number, row in enumerate(TIMES.tolist()):
        repeated = [part for part, count in zip(parts, row, strict=True) for _ in range(count)]
        expected = sum(repeated[1:], repeated[0])
        pairs = [(found.overall, expected.overall()), *zip(found.classes, expected.per_class(), strict=True)]
        for ours, theirs in pairs:
            assert list(ours) == list(theirs) or set(ours) == set(theirs) - {"support"}
            for name, values in ours.items():
                value = theirs[name]
                assert values[number] == pytest.approx(np.nan if value is None else value, nan_ok=True, rel=1e-9), name


@given(st.integers(0, 99_999), st.integers(0, 40), st.sampled_from([0.3, 0.5, 0.8]), st.integers(4, 30))
def test_blocks_of_boxes_split_no_match(seed: int, count: int, iou: float, side: int) -> None:
    image, other = drawn(seed, count, side=60), drawn(seed + 1, count, side=60)
    other = replace(other, truth=image.truth, class_ids=image.class_ids)
    image = untied(image, np.random.default_rng(seed))
    none = BoxCounts((), 3, iou, 0.3)
    whole = replace(none, images=(image,))
    parts, others = (
        [replace(none, images=(s,)) for s in each.values()]
        for each in split([image, other], Blocks(Window(0, 0, 60, 60), side), iou)
    )
    assert len(parts) == len(others)
    together = sum(parts, none)
    np.testing.assert_array_equal(together.confused(), whole.confused())
    np.testing.assert_allclose(together.figures.precisions, whole.figures.precisions, equal_nan=True)


@pytest.mark.parametrize("scores", [1, 3])
def test_scores_of_a_scene_do_not_depend_on_its_blocks_where_scores_tie(scores: int) -> None:
    task, generator = scoring_of(detection("a", "b")), np.random.default_rng(scores)
    apart = 0
    for _ in range(20):
        middle, half = generator.uniform(10, 90, (60, 2)), generator.uniform(2, 6, (60, 2))
        truth = np.concatenate([middle - half, middle + half], 1)
        ids = generator.choice(np.array([0, 1, IGNORE], np.uint8), 60)
        number = generator.integers(0, 60, 80)
        boxes = truth[number] + generator.uniform(-2, 2, (80, 4))
        found = np.where(generator.random(80) < 0.7, ids[number] % 2, generator.integers(0, 2, 80)).astype(np.uint8)
        tied = (generator.integers(1, scores + 1, 80) / scores).astype(np.float32)
        whole = Seen(truth, ids, Detections(boxes, found, tied).ranked())
        (parts,) = split([whole], Blocks(Window(0, 0, 100, 100), 25), 0.5)
        none = task.no_counts()
        blocks = [replace(none, images=(part,)) for part in parts.values()]
        expected = replace(none, images=(whole,)).overall()
        assert task.together(blocks).overall() == pytest.approx(expected)
        apart += sum(blocks, none).overall() != pytest.approx(expected)
    assert apart


def test_labels_that_are_all_equal_in_a_draw_have_no_r2() -> None:
    """Where a draw has only such blocks, a difference of large sums would leave a spread of rounding, and -1e20."""
    rng = np.random.default_rng(0)
    heights = np.repeat(np.float32([0.7, 31.3]), 3)
    sizes = rng.integers(1, 5000, 6)
    labels = [np.full(size, height, np.float32) for size, height in zip(sizes, heights, strict=True)]
    parts = [compared(each, [each + rng.normal(size=each.size).astype(np.float32)])[0] for each in labels]
    times = np.array([[1, 2, 0, 0, 0, 0], [3, 1, 2, 0, 0, 0], [0, 0, 0, 2, 2, 2], [1, 1, 1, 1, 1, 1]])
    found = Errors.resampled(parts, times).overall["r2"]
    assert np.isnan(found[:3]).all()
    assert found[3] == pytest.approx(sum(parts, Errors()).summary()["r2"], rel=1e-9)
