"""Decoding: what a detector's outputs detect in a window."""

import numpy as np
from numpy.typing import NDArray

from quadrat.tasks.object_detection.boxes.detections import Detections


def decoded(scores: NDArray[np.float32], boxes: NDArray[np.float32], least: float, most: int) -> Detections:
    """Return what is detected, the best first: at each location the class with the best score, if that is ``least``.

    ``scores`` are (location, class), ``boxes`` (location, 4) in px of the window. No more than ``most`` are taken;
    equal scores count by location.
    """
    best = scores.max(1)
    likely = np.flatnonzero(best >= least)
    likely = likely[np.argsort(-best[likely], kind="stable")[:most]]
    return Detections(boxes[likely].astype(np.float64), scores[likely].argmax(1).astype(np.uint8), best[likely])


RECIPE = """\
def best(boxes, scores, overlap=0.5):  # greedy suppression: of boxes that overlap, the best one stays
    order, kept = np.argsort(-scores, kind="stable"), []
    while order.size:
        first, rest = order[0], order[1:]
        kept.append(first)
        sides = np.minimum(boxes[first, 2:], boxes[rest, 2:]) - np.maximum(boxes[first, :2], boxes[rest, :2])
        shared = np.prod(np.maximum(sides, 0), axis=1)
        one, other = (np.prod(b[..., 2:] - b[..., :2], axis=-1) for b in (boxes[first], boxes[rest]))
        order = rest[shared <= overlap * (one + other - shared)]
    return kept


for one, places in zip(scores, boxes):  # windows
    classes = one.argmax(1)
    for class_id in range(one.shape[1]):
        likely = np.flatnonzero((classes == class_id) & (one.max(1) >= {likely}))
        kept = likely[best(places[likely], one[likely, class_id])]
        print(class_id, places[kept], one[kept, class_id])"""
"""The same in plain numpy, for the README of a bundle: ``scores`` and ``boxes`` are those of several windows."""
