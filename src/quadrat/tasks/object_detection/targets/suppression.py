"""Greedy non-maximum suppression: of boxes that overlap, the best one is kept.

As in Felzenszwalb et al. (2010): by falling score, a box is kept unless it overlaps a box that was kept.
Boxes of different classes never suppress each other.
"""

import numpy as np
from numpy.typing import NDArray

from quadrat.tasks.object_detection.section import Suppression
from quadrat.tasks.object_detection.targets.detections import Detections
from quadrat.tasks.object_detection.targets.overlaps import Boxes, Index, overlaps

BLOCK = 1024
"""Boxes per block; a block is decided first by itself, then against all others."""


def suppressed(detections: Detections, rule: Suppression) -> Detections:
    """Return the kept detections, by falling score."""
    nms = StreamingNMS(rule)
    nms.add(detections)
    return nms.close().ranked()


class StreamingNMS:
    """Suppresses detections that are added from top to bottom, and gives kept ones as soon as they are certain.

    The result is the same as for all detections at once. It holds detections that may overlap later ones, and chains of
    overlapping detections, by rising scores, that depend on these.
    """

    def __init__(self, rule: Suppression) -> None:
        """Start empty."""
        self._rule = rule
        self._held: list[Detections] = []

    def __len__(self) -> int:
        """Return the number of pending detections."""
        return sum(map(len, self._held))

    def add(self, detections: Detections) -> None:
        """Add detections, which must have an area."""
        self._held.append(detections)

    def settle(self, row: float) -> Detections:
        """Give the detections that are certainly kept if all later ones are below ``row``."""
        held = Detections.joined(self._held).ranked()
        kept, unsure = np.zeros((2, len(held)), np.bool_)
        for class_id in np.unique(held.class_ids):
            mine = np.flatnonzero(held.class_ids == class_id)
            boxes = held.boxes[mine]
            kept[mine], unsure[mine] = _settled(boxes, boxes[:, 3] > row, self._rule)
        self._held = [held.picked(unsure)]
        return held.picked(kept)

    def close(self) -> Detections:
        """Give the remaining kept detections."""
        return self.settle(np.inf)


def _settled(
    ranked: Boxes, waiting: NDArray[np.bool_], rule: Suppression
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which of the boxes (box, 4), the best first, are certainly kept, and which are undecided.

    ``waiting`` boxes are undecided, because better ones may follow, unless a present box suppresses them.
    """
    index = Index(ranked)
    kept, unsure, gone, shaken = np.zeros((4, len(ranked)), np.bool_)
    shaken |= waiting  # boxes that undecided boxes may suppress
    start = 0
    while (block := start + np.flatnonzero(~gone[start:])[:BLOCK]).size:
        start = int(block[-1]) + 1
        kept[block], unsure[block] = _among(ranked[block], shaken[block], rule)
        for deciding, fate in ((kept, gone), (unsure, shaken)):
            from_here = block[deciding[block]]
            for number, other in index.meeting(ranked[from_here]):
                one, below = from_here[number[other >= start]], other[other >= start]
                fate[below[overlaps(ranked[one], ranked[below], rule.measure) > rule.overlap]] = True
    return kept, unsure


def _among(ranked: Boxes, shaken: NDArray[np.bool_], rule: Suppression) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Do the same for one block; undecided boxes may suppress the ``shaken`` ones."""
    kept, unsure, gone = np.zeros((3, len(ranked)), np.bool_)
    pairs = np.concatenate([np.stack(pair) for pair in Index(ranked).meeting(ranked)], axis=1)
    pairs = pairs[:, pairs[0] < pairs[1]]
    pairs = pairs[:, overlaps(ranked[pairs[0]], ranked[pairs[1]], rule.measure) > rule.overlap]
    one, other = pairs[:, np.argsort(pairs[0], kind="stable")]
    ends = np.searchsorted(one, np.arange(len(ranked) + 1))
    for number in range(len(ranked)):
        if gone[number]:
            continue
        below = other[ends[number] : ends[number + 1]]
        if shaken[number]:
            unsure[number] = shaken[below] = True
        else:
            kept[number] = gone[below] = True
    return kept, unsure
