"""Decodes a detector's outputs to the detections of a window."""

import numpy as np
from numpy.typing import NDArray

from quadrat.tasks.common.calibration import Calibration
from quadrat.tasks.object_detection.targets.detections import Detections


def decoded(
    scores: NDArray[np.float32],
    boxes: NDArray[np.float32],
    least: float,
    most: int,
    calibration: Calibration | None = None,
) -> Detections:
    """Return detections, the best first: at each location, the class with the best score of at least ``least``.

    ``scores`` are (location, class), ``boxes`` (location, 4) in px of the window. At most ``most`` are returned; equal
    scores are ordered by location. With a ``calibration``, the best class's score becomes a probability first.
    """
    best = before = scores.max(1)
    if calibration is not None:
        best = calibration.of_class(best, scores.argmax(1).astype(np.uint8))
    likely = np.flatnonzero(best >= least)
    likely = likely[np.argsort(-best[likely], kind="stable")[:most]]
    class_ids = scores[likely].argmax(1).astype(np.uint8)
    return Detections(boxes[likely].astype(np.float64), class_ids, best[likely], before[likely])
