"""Matches detections with boxes of the truth."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.object_detection.targets.detections import Detections
from quadrat.tasks.object_detection.targets.overlaps import Boxes, Index, areas, overlaps, shared

Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Numbers of detections and of boxes of the truth."""


@dataclass(frozen=True, eq=False)
class Seen:
    """The boxes and the detections of an image.

    ``truth`` (box, 4) in px, with ``class_ids`` (box,): IGNORE for boxes that count nowhere. All have an area.
    """

    truth: Boxes
    class_ids: NDArray[np.uint8]
    found: Detections

    @property
    def counted(self) -> NDArray[np.bool_]:
        """(box,) True for boxes of the truth that count."""
        return np.not_equal(self.class_ids, IGNORE)

    def above(self, score: float) -> "Seen":
        """Return the same with only the detections of at least ``score``."""
        return replace(self, found=self.found.picked(self.found.scores >= score))


@dataclass(frozen=True, eq=False)
class Matches:
    """The matches of detections (detection,): ``truth`` is the number of a box, or -1.

    ``absorbed`` marks unmatched detections on an ignored box, which do not count.
    """

    truth: NDArray[np.intp]
    absorbed: NDArray[np.bool_]


def matched(seen: Seen, iou: float) -> Matches:
    """Match within classes, as COCO does: by falling score, each with the free box of largest IoU, at least ``iou``.

    A box is found once. An ignored box absorbs any number of unmatched detections, of any class, with at least a share
    of ``iou`` of their area in it.
    """
    found, truth, overlap = candidates(seen, iou)
    rank = np.empty(len(seen.found), np.intp)
    rank[np.argsort(-seen.found.scores, kind="stable")] = np.arange(len(rank))
    order = np.lexsort((truth, -overlap, rank[found]))
    of = np.full(len(rank), -1)
    taken = np.zeros(len(seen.truth), np.bool_)
    for one, other in zip(found[order].tolist(), truth[order].tolist(), strict=True):
        if of[one] < 0 and not taken[other]:
            of[one], taken[other] = other, True
    absorbed = of < 0
    absorbed[np.setdiff1d(np.arange(len(rank)), within_ignored(seen, iou)[0])] = False
    return Matches(of, absorbed)


def candidates(seen: Seen, iou: float) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.floating]]:
    """Return all pairs of a detection and a counted box of its class with an IoU of at least ``iou``, and the IoU."""
    counted = np.flatnonzero(seen.counted)
    nothing = np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0)
    kept = []
    for found, place in Index(seen.truth[counted]).meeting(seen.found.boxes):
        truth = counted[place]
        overlap = overlaps(seen.found.boxes[found], seen.truth[truth], "iou")
        good = (overlap >= iou) & (seen.found.class_ids[found] == seen.class_ids[truth])
        kept.append((found[good], truth[good], overlap[good]))
    found, truth, overlap = (np.concatenate(some) for some in zip(nothing, *kept, strict=True))
    return found, truth, overlap


def within_ignored(seen: Seen, share: float) -> Pairs:
    """Return all pairs of a detection and an ignored box that holds at least a ``share`` of its area."""
    ignored = np.flatnonzero(~seen.counted)
    kept = []
    for found, place in Index(seen.truth[ignored]).meeting(seen.found.boxes):
        boxes = seen.found.boxes[found]
        good = shared(boxes, seen.truth[ignored[place]]) >= share * areas(boxes)
        kept.append(np.stack([found[good], ignored[place[good]]]))
    found, truth = np.concatenate([np.empty((2, 0), np.intp), *kept], axis=1)
    return found, truth
