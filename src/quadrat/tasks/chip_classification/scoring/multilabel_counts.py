"""Counts for cells with any number of classes; each class is scored by itself.

Definitions as in scikit-learn with ``zero_division=nan``; average precision is the area under the steps of the curve of
precision over recall (Manning et al. 2008), without interpolation.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.chip_classification.section import HALF
from quadrat.tasks.common.metrics import Metrics, known, macro, ratio


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
    def accuracy(self) -> float:
        """The share of cells in which all known classes are correct. NaN if undefined."""
        asked = (self.truth != IGNORE).any(1)
        wrong = ((self.truth != IGNORE) & (self.predicted != (self.truth == 1))).any(1)
        return float(ratio((asked & ~wrong).sum(), asked.sum()))

    @property
    def predicted(self) -> NDArray[np.bool_]:
        """(cell, class), True where the score is HALF or more."""
        predicted: NDArray[np.bool_] = self.scores >= HALF
        return predicted

    @property
    def precision(self) -> NDArray[np.float64]:
        """(class,) TP / (TP + FP), NaN where undefined."""
        return ratio(self._found, self._found + self._invented.sum(0))

    @property
    def recall(self) -> NDArray[np.float64]:
        """(class,) TP / (TP + FN), NaN where undefined."""
        return ratio(self._found, (self.truth == 1).sum(0))

    @property
    def f1(self) -> NDArray[np.float64]:
        """(class,) 2 TP / (2 TP + FP + FN), NaN where undefined: for classes neither present nor predicted."""
        return ratio(2 * self._found, self._found + self._invented.sum(0) + (self.truth == 1).sum(0))

    @property
    def average_precision(self) -> NDArray[np.float64]:
        """(class,), over all scores; NaN for classes that are never present."""
        from sklearn.metrics import average_precision_score

        found = np.full(self.truth.shape[1], np.nan)
        for number in np.flatnonzero((self.truth == 1).any(0)):
            asked = self.truth[:, number] != IGNORE
            found[number] = average_precision_score(self.truth[asked, number], self.scores[asked, number])
        return found

    def summary(self) -> Metrics:
        """Return accuracy, macro F1, the mean of average precisions, and support: the cells that count."""
        return {
            "accuracy": known(self.accuracy),
            "macro_f1": macro(self.f1),
            "macro_average_precision": macro(self.average_precision),
            "support": int((self.truth != IGNORE).any(1).sum()),
        }

    def overall(self) -> Metrics:
        """Return ``summary``, macro precision and recall, and the share of known cells without a prediction."""
        missing, found = np.array([self.unpredicted, (self.truth != IGNORE).any(1).sum()])
        return {
            **self.summary(),
            "macro_precision": macro(self.precision),
            "macro_recall": macro(self.recall),
            "unpredicted": known(ratio(missing, missing + found)),
        }

    def per_class(self) -> list[Metrics]:
        """Return precision, recall, F1, average precision and support (cells that have it) of each class."""
        columns = zip(self.precision, self.recall, self.f1, self.average_precision, self.truth.T == 1, strict=True)
        return [
            {
                "precision": known(p),
                "recall": known(r),
                "f1": known(f),
                "average_precision": known(a),
                "support": int(there.sum()),
            }
            for p, r, f, a, there in columns
        ]

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

    @property
    def _found(self) -> NDArray[np.int64]:
        found: NDArray[np.int64] = ((self.truth == 1) & self.predicted).sum(0)
        return found

    @property
    def _invented(self) -> NDArray[np.bool_]:
        invented: NDArray[np.bool_] = (self.truth == 0) & self.predicted
        return invented
