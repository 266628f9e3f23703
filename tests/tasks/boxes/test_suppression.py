"""Suppression is the greedy rule, box by box, whether boxes come at once or from top to bottom."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor
from torchvision.ops import batched_nms

from quadrat.tasks.object_detection.section import Measure, Suppression
from quadrat.tasks.object_detection.targets.detections import Detections
from quadrat.tasks.object_detection.targets.suppression import StreamingNMS, suppressed

MEASURES: list[Measure] = ["iou", "smaller"]


def rule(measure: Measure = "iou", overlap: float = 0.5) -> Suppression:
    return Suppression(measure=measure, overlap=overlap)


def drawn(seed: int, count: int, side: float = 60, size: float = 20, classes: int = 2) -> Detections:
    """Draw boxes with corners on a lattice and few scores, so that ties and touching edges happen."""
    generator = np.random.default_rng(seed)
    corner = generator.integers(0, int(side), (count, 2))
    boxes = np.concatenate([corner, corner + generator.integers(1, int(size) + 1, (count, 2))], axis=1) / 2
    scores = generator.integers(1, 9, count).astype(np.float32) / 8
    return Detections(boxes, generator.integers(0, classes, count).astype(np.uint8), scores)


def overlap_of(one: np.ndarray, other: np.ndarray, measure: Measure) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    mine, theirs = (float((b[2] - b[0]) * (b[3] - b[1])) for b in (one, other))
    return both / (mine + theirs - both if measure == "iou" else min(mine, theirs))


def naive(detections: Detections, by: Suppression) -> Detections:
    ranked = detections.ranked()
    kept: list[int] = []
    for n in range(len(ranked)):
        alike = [k for k in kept if ranked.class_ids[k] == ranked.class_ids[n]]
        if all(overlap_of(ranked.boxes[n], ranked.boxes[k], by.measure) <= by.overlap for k in alike):
            kept.append(n)
    return ranked.picked(np.array(kept, int))


def same(one: Detections, other: Detections) -> None:
    one, other = one.ranked(), other.ranked()
    np.testing.assert_array_equal(one.boxes, other.boxes)
    np.testing.assert_array_equal(one.class_ids, other.class_ids)
    np.testing.assert_array_equal(one.scores, other.scores)


@given(st.integers(0, 9999), st.integers(0, 60), st.sampled_from(MEASURES), st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_suppression_is_the_greedy_rule(seed: int, count: int, measure: Measure, overlap: float) -> None:
    detections, by = drawn(seed, count), rule(measure, overlap)
    same(suppressed(detections, by), naive(detections, by))


@given(st.integers(0, 9999), st.integers(0, 60), st.sampled_from(MEASURES), st.integers(1, 12))
def test_suppression_in_blocks_keeps_the_same_boxes(seed: int, count: int, measure: Measure, block: int) -> None:
    detections, by = drawn(seed, count), rule(measure, 0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quadrat.tasks.object_detection.targets.suppression.BLOCK", block)
        patch.setattr("quadrat.tasks.object_detection.targets.overlaps.PIECE", 3)
        same(suppressed(detections, by), naive(detections, by))


@given(st.integers(0, 9999), st.integers(0, 80), st.sampled_from(MEASURES), st.integers(1, 20))
def test_a_sieve_from_top_to_bottom_keeps_the_same_boxes(seed: int, count: int, measure: Measure, step: int) -> None:
    detections, by = drawn(seed, count, side=150), rule(measure, 0.3)
    nms, given_out = StreamingNMS(by), []
    for row in range(0, 100, step):
        released = nms.settle(row)
        if len(released):
            assert released.boxes[:, 3].max() <= row
        given_out.append(released)
        top = detections.boxes[:, 1]
        nms.add(detections.picked((top >= row) & (top < row + step)))
    given_out.append(nms.close())
    assert len(nms) == 0
    same(Detections.joined(given_out), naive(detections, by))


def test_the_order_in_which_detections_come_does_not_matter() -> None:
    detections = drawn(3, 300)
    shuffled = detections.picked(np.random.default_rng(0).permutation(300))
    same(suppressed(detections, rule()), suppressed(shuffled, rule()))


def test_suppression_is_that_of_torchvision() -> None:
    generator = np.random.default_rng(1)
    corner = generator.random((500, 2)) * 100
    boxes = np.concatenate([corner, corner + generator.uniform(5, 30, (500, 2))], axis=1)
    detections = Detections(boxes, generator.integers(0, 3, 500).astype(np.uint8), generator.random(500, np.float32))
    kept = batched_nms(tensor(boxes), tensor(detections.scores).double(), tensor(detections.class_ids), 0.5)
    same(suppressed(detections, rule()), detections.picked(kept.numpy()))


def test_a_part_of_a_box_is_the_same_object_by_the_smaller() -> None:
    boxes = np.array([[0, 0, 10, 10], [6, 0, 10, 10]], float)
    detections = Detections(boxes, np.zeros(2, np.uint8), np.array([0.9, 0.8], np.float32))
    assert len(suppressed(detections, rule("iou"))) == 2
    assert len(suppressed(detections, rule("smaller"))) == 1


def test_what_is_held_does_not_grow_with_the_rows() -> None:
    nms, most = StreamingNMS(rule()), 0
    generator = np.random.default_rng(2)
    for row in range(0, 4_000, 100):
        nms.settle(row)
        corner = generator.random((200, 2)) * 100 + [0, row]
        boxes = np.concatenate([corner, corner + generator.uniform(5, 15, (200, 2))], axis=1)
        nms.add(Detections(boxes, np.zeros(200, np.uint8), generator.random(200, np.float32)))
        most = max(most, len(nms))
    assert most < 400


@pytest.mark.parametrize("shape", ["scattered", "all alike", "stairs"])
def test_many_boxes_are_suppressed_without_comparing_all_pairs(shape: str) -> None:
    count, generator = 50_000, np.random.default_rng(4)
    scores = generator.random(count, np.float32)
    if shape == "scattered":  # each meets about twenty others
        corner = generator.random((count, 2)) * 3000
        boxes = np.concatenate([corner, corner + generator.uniform(15, 45, (count, 2))], axis=1)
    elif shape == "all alike":
        boxes = np.array([100, 100, 130, 130]) + generator.normal(0, 1, (count, 4))
    else:  # each overlaps the next, and loses to it
        step = 4.0 * np.arange(count)
        boxes = np.stack([np.zeros(count), step, np.full(count, 10.0), step + 10], axis=1)
        scores = np.linspace(0, 1, count, dtype=np.float32)
    kept = suppressed(Detections(boxes, np.zeros(count, np.uint8), scores), rule("iou", 0.4))
    assert len(kept) == {"scattered": len(kept), "all alike": 1, "stairs": count // 2}[shape]
