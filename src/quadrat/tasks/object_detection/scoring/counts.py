"""Counts of detections against boxes, and the metrics computed from them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from quadrat.tasks.common.metrics import Confusion, Metrics
from quadrat.tasks.object_detection.scoring.precision import average_precision
from quadrat.tasks.object_detection.targets.detections import Detections
from quadrat.tasks.object_detection.targets.matching import Seen, matched


@dataclass(frozen=True, eq=False)
class BoxCounts:
    """Boxes and detections by image; all are kept, because average precision needs all scores.

    For precision, recall and F1, a detection needs at least ``score``, and is correct from ``iou`` on. Average
    precision (``map``, ``map50``) uses all detections, with any score.
    """

    images: tuple[Seen, ...]
    classes: int
    iou: float
    score: float

    def __add__(self, other: Self) -> Self:
        """Return both counts together."""
        if (self.classes, self.iou, self.score) != (other.classes, other.iou, other.score):
            raise ValueError(f"counts with different rules can't be added: {self} and {other}")
        return type(self)(self.images + other.images, self.classes, self.iou, self.score)

    def __repr__(self) -> str:
        """Return the number of images and the rules, not all boxes."""
        return f"BoxCounts({len(self.images)} images, {self.classes} classes, iou={self.iou}, score={self.score})"

    def summary(self) -> Metrics:
        """Return mAP at an IoU of 0.5, mAP over 0.5 to 0.95, macro F1, and support: the number of boxes that count."""
        ap = self._precisions
        return {
            "map50": _mean(ap[:, 0].tolist()),
            "map": _mean(ap.mean(1).tolist()),
            "macro_f1": _mean([row["f1"] for row in self._matched]),
            "support": int(self.confused()[:-1].sum()),
        }

    def overall(self) -> Metrics:
        """Return ``summary``, macro precision and recall, and the number of detections that count."""
        return {
            **self.summary(),
            "macro_precision": _mean([row["precision"] for row in self._matched]),
            "macro_recall": _mean([row["recall"] for row in self._matched]),
            "detections": int(self.confused()[:, :-1].sum()),
        }

    def per_class(self) -> list[Metrics]:
        """Return average precision (``ap50``, ``ap``), precision, recall, F1 and support (boxes) of each class."""
        return [
            {"ap50": _mean([ap[0]]), "ap": _mean([ap.mean()]), **{name: row[name] for name in NAMES}}
            for ap, row in zip(self._precisions, self._matched, strict=True)
        ]

    def confused(self) -> NDArray[np.int64]:
        """Return counts (true class, predicted class); the last row: false detections, last column: missed."""
        return self._confusion

    def always(self, class_id: int) -> None:
        """Return None, because boxes can't be predicted everywhere."""

    @cached_property
    def _precisions(self) -> NDArray[np.float64]:
        return average_precision(self.images, self.classes)

    @cached_property
    def _confusion(self) -> NDArray[np.int64]:
        none = np.zeros((self.classes + 1, self.classes + 1), np.int64)
        return sum((confusion(seen.above(self.score), self.classes, self.iou) for seen in self.images), none)

    @property
    def _matched(self) -> list[Metrics]:
        """Each class's precision, recall, F1 and support, from the diagonal and the sums of ``confused``."""
        return Confusion(self._confusion, np.zeros(self.classes + 1, np.int64)).per_class()[:-1]


NAMES = ("precision", "recall", "f1", "support")


def _mean(values: "list[float | int | None]") -> float | None:
    """Return the mean of the defined values."""
    known = [value for value in values if value is not None and not np.isnan(value)]
    return float(np.mean(known)) if known else None


def confusion(seen: Seen, classes: int, iou: float) -> NDArray[np.int64]:
    """Return counts (true class, predicted class), with a last row for false and a last column for missed.

    Detections are first matched within their class, so that no box of another class takes their match. The rest is
    matched across classes, which gives the confusions.
    """
    first = matched(seen, iou)
    false, missed = (first.truth < 0) & ~first.absorbed, seen.counted.copy()
    missed[first.truth[first.truth >= 0]] = False
    alike = Detections(seen.found.boxes[false], np.zeros(false.sum(), np.uint8), seen.found.scores[false])
    second = matched(Seen(seen.truth[missed], np.zeros(missed.sum(), np.uint8), alike), iou)
    of = first.truth.copy()
    of[np.flatnonzero(false)] = np.append(np.flatnonzero(missed), -1)[second.truth]
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    truth = np.append(seen.class_ids, classes)[of]  # -1 means none
    np.add.at(matrix, (truth[~first.absorbed], seen.found.class_ids[~first.absorbed]), 1)
    lost = seen.counted.copy()
    lost[of[of >= 0]] = False
    matrix[:, classes] += np.bincount(seen.class_ids[lost], minlength=classes + 1)
    return matrix
