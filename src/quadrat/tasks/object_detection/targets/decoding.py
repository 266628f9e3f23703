"""Decoding: what a detector's outputs detect in a window."""

import numpy as np
from numpy.typing import NDArray

from quadrat.tasks.object_detection.targets.detections import Detections


def decoded(scores: NDArray[np.float32], boxes: NDArray[np.float32], least: float, most: int) -> Detections:
    """Return what is detected, the best first: at each location the class with the best score, if that is ``least``.

    ``scores`` are (location, class), ``boxes`` (location, 4) in px of the window. No more than ``most`` are taken;
    equal scores count by location.
    """
    best = scores.max(1)
    likely = np.flatnonzero(best >= least)
    likely = likely[np.argsort(-best[likely], kind="stable")[:most]]
    return Detections(boxes[likely].astype(np.float64), scores[likely].argmax(1).astype(np.uint8), best[likely])
