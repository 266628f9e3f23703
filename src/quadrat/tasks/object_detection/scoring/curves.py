"""Precision over recall of detections, by falling score."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quadrat.tasks.object_detection.scoring.precision import THRESHOLDS
from quadrat.tasks.object_detection.targets.matching import Seen, matched


def curves(images: Sequence[Seen], classes: int) -> list[NDArray[np.float64]]:
    """Return each class's recall and precision (point, 2) after each detection that counts, at the first of THRESHOLDS.

    A class without boxes, or without detections, has no point.
    """
    matches = [matched(seen, THRESHOLDS[0]) for seen in images]
    class_ids = np.concatenate([np.empty(0, np.uint8), *(seen.found.class_ids for seen in images)])
    scores = np.concatenate([np.empty(0, np.float32), *(seen.found.scores for seen in images)])
    right = np.concatenate([np.empty(0, np.bool_), *(one.truth >= 0 for one in matches)])
    counted = np.concatenate([np.empty(0, np.bool_), *(~one.absorbed for one in matches)])
    order = np.argsort(-scores, kind="stable")
    order = order[counted[order]]
    found = []
    for number in range(classes):
        boxes = sum(int(np.count_nonzero(seen.class_ids == number)) for seen in images)
        hits = np.cumsum(right[order[class_ids[order] == number]])
        recall = hits / max(boxes, 1)
        curve = np.column_stack([recall, hits / np.arange(1, len(hits) + 1)])
        found.append(curve if boxes else curve[:0])
    return found
