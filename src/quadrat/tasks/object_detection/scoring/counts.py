"""Counts of detections against boxes, and the metrics computed from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from quadrat.tasks.common.metrics import Confusion, Metrics, Sampled
from quadrat.tasks.object_detection.scoring.precision import THRESHOLDS, average_precision
from quadrat.tasks.object_detection.scoring.resampling import ranked_by_class
from quadrat.tasks.object_detection.targets.detections import Detections
from quadrat.tasks.object_detection.targets.matching import Seen, matched


@dataclass(frozen=True, eq=False)
class BoxFigures:
    """Average precisions and counts, and the metrics computed from them."""

    precisions: NDArray[np.float64]
    """(class, threshold), average precision at each of THRESHOLDS; NaN for a class without boxes."""
    confusion: NDArray[np.int64]
    """(true class, predicted class); the last row: false detections, last column: missed."""

    def summary(self) -> Metrics:
        """Return mAP at an IoU of 0.5, mAP over 0.5 to 0.95, macro F1, and support: the number of boxes that count."""
        return {
            "map50": _mean(self.precisions[:, 0].tolist()),
            "map": _mean(self.precisions.mean(1).tolist()),
            "macro_f1": _mean([row["f1"] for row in self._matched]),
            "support": int(self.confusion[:-1].sum()),
        }

    def overall(self) -> Metrics:
        """Return ``summary``, macro precision and recall, and the number of detections that count."""
        return {
            **self.summary(),
            "macro_precision": _mean([row["precision"] for row in self._matched]),
            "macro_recall": _mean([row["recall"] for row in self._matched]),
            "detections": int(self.confusion[:, :-1].sum()),
        }

    def per_class(self) -> list[Metrics]:
        """Return average precision (``ap50``, ``ap``), precision, recall, F1 and support (boxes) of each class."""
        return [
            {"ap50": _mean([ap[0]]), "ap": _mean([ap.mean()]), **{name: row[name] for name in NAMES}}
            for ap, row in zip(self.precisions, self._matched, strict=True)
        ]

    @cached_property
    def _matched(self) -> list[Metrics]:
        """Each class's precision, recall, F1 and support, from the diagonal and the sums of ``confusion``."""
        return Confusion(self.confusion, np.zeros(len(self.confusion), np.int64)).per_class()[:-1]


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

    @cached_property
    def figures(self) -> BoxFigures:
        """The metrics."""
        return BoxFigures(average_precision(self.images, self.classes), self.confused())

    def summary(self) -> Metrics:
        """Return the summary of ``figures``."""
        return self.figures.summary()

    def overall(self) -> Metrics:
        """Return all metrics of ``figures``."""
        return self.figures.overall()

    def per_class(self) -> list[Metrics]:
        """Return each class's metrics of ``figures``."""
        return self.figures.per_class()

    def confused(self) -> NDArray[np.int64]:
        """Return counts (true class, predicted class); the last row: false detections, last column: missed."""
        return self._confusion

    def always(self, class_id: int) -> None:
        """Return None, because boxes can't be predicted everywhere."""

    def curves(self) -> list[NDArray[np.float64]]:
        """Return each class's recall and precision (point, 2) by falling score, at an IoU of 0.5."""
        return [one.curve() for one in ranked_by_class([self.images], self.classes, THRESHOLDS[:1])]

    def wrong(self) -> tuple[float, float]:
        """Return the number of false detections and missed boxes, and of these and the right ones."""
        total = int(self._confusion.sum())
        return float(total - np.trace(self._confusion)), float(total)

    @classmethod
    def resampled(cls, parts: Sequence[Self], times: NDArray[np.int64]) -> Sampled:
        """Return the metrics of the sum of ``parts`` for each row of ``times`` (sum, part)."""
        return Sampled.of(cls._sums_of(parts, times))

    @classmethod
    def _sums_of(cls, parts: Sequence[Self], times: NDArray[np.int64]) -> Iterator[BoxFigures]:
        """Yield the metrics of the sum of ``parts`` for each row of ``times`` (sum, part)."""
        ranked = ranked_by_class([part.images for part in parts], parts[0].classes)
        stacked = np.stack([part.confused() for part in parts])
        for row in times:
            precisions = np.stack([one.average_precision(row) for one in ranked])
            yield BoxFigures(precisions, np.tensordot(row, stacked, 1))

    @cached_property
    def _confusion(self) -> NDArray[np.int64]:
        none = np.zeros((self.classes + 1, self.classes + 1), np.int64)
        return sum((confusion(seen.above(self.score), self.classes, self.iou) for seen in self.images), none)


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
