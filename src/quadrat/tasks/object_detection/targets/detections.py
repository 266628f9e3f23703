"""Detections: boxes with a class and a score."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.windows import Window
from quadrat.tasks.object_detection.targets.overlaps import Boxes, clipped, solid


@dataclass(frozen=True, eq=False)
class Detections:
    """Upright boxes (detection, 4) in px of a grid, with a class id and a score each (detection,)."""

    boxes: Boxes
    class_ids: NDArray[np.uint8]
    scores: NDArray[np.float32]
    before: NDArray[np.float32] | None = None
    """The scores before they were calibrated; None where they are not known."""

    def __len__(self) -> int:
        """Return the number of detections."""
        return len(self.scores)

    @classmethod
    def none(cls) -> "Detections":
        """Return no detections."""
        return cls(np.empty((0, 4)), np.empty(0, np.uint8), np.empty(0, np.float32))

    @classmethod
    def joined(cls, some: Sequence["Detections"]) -> "Detections":
        """Return the concatenation of several."""
        before = [one.before for one in some if len(one) and one.before is not None]
        lost = any(len(one) and one.before is None for one in some)
        some = [cls.none(), *some]
        return cls(
            np.concatenate([one.boxes for one in some]),
            np.concatenate([one.class_ids for one in some]),
            np.concatenate([one.scores for one in some]),
            None if lost or not before else np.concatenate(before),
        )

    def picked(self, which: NDArray[Any]) -> "Detections":
        """Return those selected by a mask or by indices."""
        before = None if self.before is None else self.before[which]
        return Detections(self.boxes[which], self.class_ids[which], self.scores[which], before)

    def within(self, window: Window) -> "Detections":
        """Return those that meet a window, with their boxes cut to it."""
        boxes = clipped(self.boxes, window)
        return replace(self, boxes=boxes).picked(solid(boxes))

    def ranked(self) -> "Detections":
        """Return them by falling score, then by place and class, so that the order is unique."""
        left, top, right, bottom = self.boxes.T
        return self.picked(np.lexsort((self.class_ids, right, bottom, left, top, -self.scores)))
