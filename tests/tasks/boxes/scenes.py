"""Boxes and detections that are drawn at random, for tests."""

import numpy as np

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.object_detection.targets.detections import Detections
from quadrat.tasks.object_detection.targets.matching import Seen


def drawn(seed: int, count: int, classes: int = 3, side: float = 40) -> Seen:
    """Draw truth and detections, most of them near the truth; scores and edges often tie."""
    generator = np.random.default_rng(seed)
    corner = generator.integers(0, side, (count, 2))
    truth = np.concatenate([corner, corner + generator.integers(2, 12, (count, 2))], axis=1).astype(float)
    ids = generator.choice([*range(classes), IGNORE], count).astype(np.uint8)
    number = generator.integers(0, max(count, 1), round(1.5 * count))
    boxes = truth[number] + generator.integers(-2, 3, (len(number), 4)) / 2
    found = np.where(generator.random(len(number)) < 0.7, ids[number], generator.integers(0, classes, len(number)))
    found = np.where(found == IGNORE, 0, found).astype(np.uint8)
    solid = (boxes[:, 2:] > boxes[:, :2]).all(1)
    scores = generator.integers(0, 9, len(number)).astype(np.float32) / 8
    return Seen(truth, ids, Detections(boxes, found, scores).picked(solid))


def seen(truth: list[tuple[float, ...]], found: list[tuple[float, ...]]) -> Seen:
    """Return boxes (left, top, right, bottom, class) and detections (the same, and the score)."""
    boxes, detections = np.array(truth, float).reshape(-1, 5), np.array(found, float).reshape(-1, 6)
    scores = detections[:, 5].astype(np.float32)
    return Seen(
        boxes[:, :4],
        boxes[:, 4].astype(np.uint8),
        Detections(detections[:, :4], detections[:, 4].astype(np.uint8), scores),
    )


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Return intersection over union of two boxes."""
    both = inside(one, other) * area(one)
    return both / (area(one) + area(other) - both)


def inside(one: np.ndarray, other: np.ndarray) -> float:
    """Return the share of one box that lies within the other."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    return width * max(0.0, min(one[3], other[3]) - max(one[1], other[1])) / area(one)


def area(box: np.ndarray) -> float:
    """Return a box's area."""
    return float((box[2] - box[0]) * (box[3] - box[1]))
