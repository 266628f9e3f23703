"""Counts for cells with any number of classes; each class is scored by itself.

Definitions as in scikit-learn with ``zero_division=nan``; average precision is the area under the steps of the curve of
precision over recall (Manning et al. 2008), without interpolation.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.chip_classification.section import HALF
from quadrat.tasks.common.metrics import Metrics, Sampled, known, macro, ratio


@dataclass(frozen=True, eq=False)
class PresenceFigures:
    """Numbers of cells, and the metrics computed from them."""

    found: NDArray[np.int64]
    """(class,), cells in which a class is present and predicted."""
    invented: NDArray[np.int64]
    """(class,), cells in which it is absent and predicted."""
    present: NDArray[np.int64]
    """(class,), cells in which it is present."""
    asked: int
    """Cells with a label of any class."""
    right: int
    """Those in which all known classes are correct."""
    unpredicted: int
    """Labelled cells without a prediction; only their share is a metric."""
    average_precision: NDArray[np.float64]
    """(class,), over all scores; NaN for classes that are never present."""

    @classmethod
    def of(cls, sums: NDArray[np.int64], average_precision: NDArray[np.float64]) -> Self:
        """Return figures of the other fields in one array."""
        found, invented, present = sums[:-3].reshape(3, -1)
        asked, right, unpredicted = sums[-3:].tolist()
        return cls(found, invented, present, asked, right, unpredicted, average_precision)

    @property
    def accuracy(self) -> float:
        """The share of cells in which all known classes are correct. NaN if undefined."""
        return float(ratio(np.array(self.right), np.array(self.asked)))

    @property
    def precision(self) -> NDArray[np.float64]:
        """(class,) TP / (TP + FP), NaN where undefined."""
        return ratio(self.found, self.found + self.invented)

    @property
    def recall(self) -> NDArray[np.float64]:
        """(class,) TP / (TP + FN), NaN where undefined."""
        return ratio(self.found, self.present)

    @property
    def f1(self) -> NDArray[np.float64]:
        """(class,) 2 TP / (2 TP + FP + FN), NaN where undefined: for classes neither present nor predicted."""
        return ratio(2 * self.found, self.found + self.invented + self.present)

    def summary(self) -> Metrics:
        """Return accuracy, macro F1, the mean of average precisions, and support: the cells that count."""
        return {
            "accuracy": known(self.accuracy),
            "macro_f1": macro(self.f1),
            "macro_average_precision": macro(self.average_precision),
            "support": self.asked,
        }

    def overall(self) -> Metrics:
        """Return ``summary``, macro precision and recall, and the share of known cells without a prediction."""
        missing = np.array(self.unpredicted)
        return {
            **self.summary(),
            "macro_precision": macro(self.precision),
            "macro_recall": macro(self.recall),
            "unpredicted": known(ratio(missing, missing + self.asked)),
        }

    def per_class(self) -> list[Metrics]:
        """Return precision, recall, F1, average precision and support (cells that have it) of each class."""
        columns = zip(self.precision, self.recall, self.f1, self.average_precision, self.present, strict=True)
        return [
            {
                "precision": known(p),
                "recall": known(r),
                "f1": known(f),
                "average_precision": known(a),
                "support": int(n),
            }
            for p, r, f, a, n in columns
        ]


@dataclass(frozen=True, eq=False)
class Presence:
    """The true classes of each cell, and the predicted scores."""

    truth: NDArray[np.uint8]
    """(cell, class): 1 present, 0 absent, or IGNORE."""
    scores: NDArray[np.float32]
    """(cell, class), from 0 to 1."""
    unpredicted: int = 0
    """Number of labelled cells without a prediction; only their share is a metric."""

    def __post_init__(self) -> None:
        """Raise ValueError for shapes that do not match."""
        if self.truth.shape != self.scores.shape or self.truth.ndim != 2:
            raise ValueError(f"truth {self.truth.shape} and scores {self.scores.shape} differ in cells or classes")

    @classmethod
    def none(cls, classes: int) -> Self:
        """Return empty counts."""
        return cls(np.zeros((0, classes), np.uint8), np.zeros((0, classes), np.float32))

    def __add__(self, other: Self) -> Self:
        """Return both together; all scores are kept for average precision."""
        return type(self)(
            np.concatenate([self.truth, other.truth]),
            np.concatenate([self.scores, other.scores]),
            self.unpredicted + other.unpredicted,
        )

    @property
    def predicted(self) -> NDArray[np.bool_]:
        """(cell, class), True where the score is HALF or more."""
        predicted: NDArray[np.bool_] = self.scores >= HALF
        return predicted

    @property
    def average_precision(self) -> NDArray[np.float64]:
        """(class,), over all scores; NaN for classes that are never present."""
        from sklearn.metrics import average_precision_score

        found = np.full(self.truth.shape[1], np.nan)
        for number in np.flatnonzero((self.truth == 1).any(0)):
            asked = self.truth[:, number] != IGNORE
            found[number] = average_precision_score(self.truth[asked, number], self.scores[asked, number])
        return found

    @cached_property
    def figures(self) -> PresenceFigures:
        """The metrics."""
        return PresenceFigures.of(self._numbers, self.average_precision)

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
        """Return counts (true class, predicted class), with a last row and column for none.

        The diagonal counts cells in which a class was found. Other entries count each pair of a missed class and a
        wrongly predicted class of a cell; if a cell has only one of both, it is paired with none.
        """
        missed = (self.truth == 1) & ~self.predicted
        missed, invented = (np.column_stack([some, ~some.any(1)]) for some in (missed, self._invented))
        pairs = missed.T.astype(np.int64) @ invented.astype(np.int64)
        pairs[np.diag_indices(len(pairs))] = [*self._found, 0]
        return pairs

    def always(self, class_id: int) -> Self:
        """Return the counts if only ``class_id`` were predicted in all cells."""
        scores = np.zeros_like(self.scores)
        scores[:, class_id] = 1
        return type(self)(self.truth, scores, self.unpredicted)

    def curves(self) -> list[NDArray[np.float64]]:
        """Return each class's recall and precision (point, 2) at each score, by falling score."""
        owners = np.zeros(len(self.truth), np.intp)
        return [_Ranked.of(*pair, owners).curve() for pair in zip(self.truth.T, self.scores.T, strict=True)]

    def wrong(self) -> tuple[float, float]:
        """Return the number of labelled cells with a wrong class, and of labelled cells."""
        asked, right, _ = self._numbers[-3:].tolist()
        return float(asked - right), float(asked)

    @classmethod
    def resampled(cls, parts: Sequence[Self], times: NDArray[np.int64]) -> Sampled:
        """Return the metrics of the sum of ``parts`` for each row of ``times`` (sum, part)."""
        return Sampled.of(cls._sums_of(parts, times))

    @classmethod
    def _sums_of(cls, parts: Sequence[Self], times: NDArray[np.int64]) -> Iterator[PresenceFigures]:
        """Yield the metrics of the sum of ``parts`` for each row of ``times`` (sum, part)."""
        sums = np.stack([part._numbers for part in parts])  # noqa: SLF001  # of the same class
        owners = np.repeat(np.arange(len(parts)), [len(part.truth) for part in parts])
        together = cls(np.concatenate([p.truth for p in parts]), np.concatenate([p.scores for p in parts]))
        ranked = [_Ranked.of(*pair, owners) for pair in zip(together.truth.T, together.scores.T, strict=True)]
        for row in times:
            yield PresenceFigures.of(row @ sums, np.array([one.average_precision(row) for one in ranked]))

    @property
    def _numbers(self) -> NDArray[np.int64]:
        """The fields of ``figures``, but the average precisions, in one array."""
        asked = (self.truth != IGNORE).any(1)
        wrong = ((self.truth != IGNORE) & (self.predicted != (self.truth == 1))).any(1)
        single = [asked.sum(), (asked & ~wrong).sum(), self.unpredicted]
        return np.concatenate([self._found, self._invented.sum(0), (self.truth == 1).sum(0), single]).astype(np.int64)

    @property
    def _found(self) -> NDArray[np.int64]:
        found: NDArray[np.int64] = ((self.truth == 1) & self.predicted).sum(0)
        return found

    @property
    def _invented(self) -> NDArray[np.bool_]:
        invented: NDArray[np.bool_] = (self.truth == 0) & self.predicted
        return invented


@dataclass(frozen=True, eq=False)
class _Ranked:
    """The cells that know a class, by falling score: whether it is there, their part, and where equal scores end."""

    there: NDArray[np.bool_]
    owner: NDArray[np.intp]
    ends: NDArray[np.intp]

    @classmethod
    def of(cls, truth: NDArray[np.uint8], scores: NDArray[np.float32], owners: NDArray[np.intp]) -> Self:
        asked = np.flatnonzero(truth != IGNORE)
        order = asked[np.argsort(-scores[asked], kind="stable")]
        ends = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)
        return cls(truth[order] == 1, owners[order], ends)

    def curve(self) -> NDArray[np.float64]:
        """Return recall and precision (point, 2); no point if the class is never present."""
        found, every = np.cumsum(self.there)[self.ends], self.ends + 1
        if not found.size or not found[-1]:
            return np.empty((0, 2))
        return np.column_stack([found / found[-1], found / every])

    def average_precision(self, times: NDArray[np.int64]) -> float:
        """Return it with each cell as often as ``times`` (part,) says; NaN if the class is never present."""
        weights = times[self.owner]
        found, every = np.cumsum(weights * self.there)[self.ends], np.cumsum(weights)[self.ends]
        if not found.size or not found[-1]:
            return math.nan
        return float((np.diff(found, prepend=0) * ratio(found, every))[every > 0].sum() / found[-1])
