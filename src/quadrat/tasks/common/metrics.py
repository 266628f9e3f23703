"""Counts of predictions against labels, and the metrics computed from counts.

Counts of windows, scenes and splits can be added; metrics can't. A ratio 0 / 0 is undefined: it is None, never 0, and
left out of means. Definitions as in scikit-learn with ``zero_division=nan``; IoU after Jaccard (1912).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE, all_known
from quadrat.geo.statistics.histogram import added, histogram

Metrics = dict[str, float | int | None]
"""Metrics by name; None is undefined."""


Columns = dict[str, NDArray[np.float64]]
"""Arrays of metrics by name; NaN is undefined."""

DIGITS = 4
"""Fewest significant digits, and decimals, of metrics that are written."""

ZERO = 1e-12
"""Absolute value below which a metric is 0 but for rounding."""

TOGETHER = 2**22
"""Numbers that are held at once for sums of counts."""


class Figures(Protocol):
    """Metrics over the classes, and of each class."""

    def overall(self) -> Metrics:
        """Return all metrics over the classes; those of ``summary`` come first."""
        ...

    def per_class(self) -> list[Metrics]:
        """Return each class's metrics, by id."""
        ...


@dataclass(frozen=True)
class Sampled:
    """Metrics of several sums of counts, (sum,) by name, NaN where undefined: over the classes, and of each class."""

    overall: Columns
    classes: Sequence[Columns]

    @classmethod
    def of(cls, figures: Iterable[Figures]) -> "Sampled":
        """Return the metrics of each of ``figures``."""
        overall, classes = zip(*((one.overall(), one.per_class()) for one in figures), strict=True)
        return cls(_columns(overall), [_columns(rows) for rows in zip(*classes, strict=True)])

    def __sub__(self, other: "Sampled") -> "Sampled":
        """Return the differences between the same sums."""
        pairs = [(self.overall, other.overall), *zip(self.classes, other.classes, strict=True)]
        overall, *classes = ({name: ours[name] - theirs[name] for name in ours} for ours, theirs in pairs)
        return Sampled(overall, classes)


class Counts(Figures, Protocol):
    """Counts of any task, which can be added and give metrics, such as ``Confusion``."""

    def __add__(self, other: Self) -> Self:
        """Return both counts together."""
        ...

    def summary(self) -> Metrics:
        """Return the few metrics for comparing predictions.

        All tasks have ``support``, and those with classes ``macro_f1``.
        """
        ...

    def confused(self) -> NDArray[np.int64]:
        """Return counts (true class, predicted class); some tasks have a last row and column for none.

        Of shape (0, 0) for tasks without classes.
        """
        ...

    def always(self, class_id: int) -> Self | None:
        """Return the counts if ``class_id`` were predicted everywhere; None if that has no meaning."""
        ...

    def curves(self) -> "list[NDArray[np.float64]]":
        """Return each class's recall and precision (point, 2) by falling score; none for tasks without scores."""
        ...

    def wrong(self) -> tuple[float, float]:
        """Return how much is wrong, and of how much: pixels, cells or boxes; for values, the errors' sum and pixels."""
        ...

    @classmethod
    def resampled(cls, parts: Sequence[Self], times: NDArray[np.int64]) -> Sampled:
        """Return the metrics of the sum of ``parts`` for each row of ``times`` (sum, part): how often each is in it."""
        ...


@dataclass(frozen=True, eq=False)
class Confusion:
    """Pixels, or cells, by true and predicted class; several of them have further axes in front."""

    matrix: NDArray[np.int64]
    """(…, true class, predicted class)."""
    unpredicted: NDArray[np.int64]
    """(…, true class), those with a label but no prediction; only their share is a metric."""

    def __post_init__(self) -> None:
        """Raise ValueError for shapes that do not match."""
        if self.matrix.shape != (*self.unpredicted.shape, self.unpredicted.shape[-1]):
            raise ValueError(f"matrix {self.matrix.shape} and unpredicted {self.unpredicted.shape} differ in classes")

    @classmethod
    def none(cls, classes: int) -> Self:
        """Return empty counts."""
        return cls(np.zeros((classes, classes), np.int64), np.zeros(classes, np.int64))

    @classmethod
    def tallied(cls, tally: NDArray[np.int64]) -> Self:
        """Return the counts of ``quadrat.tasks.common.tally.confused``; raise ValueError for ids of no class."""
        if tally[-1].any():
            raise ValueError(f"the truth holds class ids that none of {len(tally) - 1} classes has")
        return cls(tally[:-1], np.zeros(len(tally) - 1, np.int64))

    def __add__(self, other: Self) -> Self:
        """Return both counts together."""
        return type(self)(self.matrix + other.matrix, self.unpredicted + other.unpredicted)

    def __eq__(self, other: object) -> bool:
        """Compare by content."""
        if not isinstance(other, Confusion):
            return NotImplemented
        return np.array_equal(self.matrix, other.matrix) and np.array_equal(self.unpredicted, other.unpredicted)

    __hash__ = None  # type: ignore[assignment]  # arrays can change

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """(…) The share with the correct class, which equals micro F1. NaN if undefined."""
        return ratio(self._found.sum(-1), self.matrix.sum((-2, -1)))

    @property
    def precision(self) -> NDArray[np.float64]:
        """(…, class) TP / (TP + FP), NaN where undefined."""
        return ratio(self._found, self.matrix.sum(-2))

    @property
    def recall(self) -> NDArray[np.float64]:
        """(…, class) TP / (TP + FN), NaN where undefined."""
        return ratio(self._found, self.matrix.sum(-1))

    @property
    def f1(self) -> NDArray[np.float64]:
        """(…, class) 2 TP / (2 TP + FP + FN), NaN where undefined: for classes neither labelled nor predicted."""
        return ratio(2 * self._found, self.matrix.sum(-2) + self.matrix.sum(-1))

    @property
    def iou(self) -> NDArray[np.float64]:
        """(…, class) TP / (TP + FP + FN), NaN where undefined, as F1."""
        return ratio(self._found, self.matrix.sum(-2) + self.matrix.sum(-1) - self._found)

    def summary(self) -> Metrics:
        """Return accuracy, macro F1 (the mean over the classes for which it is defined), and support: the count."""
        return {"accuracy": known(self.accuracy), "macro_f1": macro(self.f1), "support": int(self.matrix.sum())}

    def overall(self) -> Metrics:
        """Return ``summary``, macro precision, recall and IoU, and the share of labels without a prediction."""
        return {**self.summary(), **{name: known(value) for name, value in self._means.items()}}

    def per_class(self) -> list[Metrics]:
        """Return precision, recall, F1, IoU and support (the number labelled and predicted) of each class."""
        rows = zip(*self._of_classes.values(), strict=True)
        return [
            {**dict(zip(self._of_classes, map(known, row), strict=True)), "support": int(support)}
            for row, support in zip(rows, self.matrix.sum(-1), strict=True)
        ]

    def confused(self) -> NDArray[np.int64]:
        """Return ``matrix``."""
        return self.matrix

    def always(self, class_id: int) -> Self:
        """Return the counts if ``class_id`` were predicted in all the same places."""
        matrix = np.zeros_like(self.matrix)
        matrix[:, class_id] = self.matrix.sum(1)
        return type(self)(matrix, self.unpredicted)

    def curves(self) -> list[NDArray[np.float64]]:
        """Return none, because scores are not counted."""
        return []

    def wrong(self) -> tuple[float, float]:
        """Return the number with another class than the label's, and the number with both."""
        total = float(self.matrix.sum())
        return total - float(self._found.sum()), total

    @classmethod
    def resampled(cls, parts: Sequence[Self], times: NDArray[np.int64]) -> Sampled:
        """Return the metrics of the sum of ``parts`` for each row of ``times`` (sum, part)."""
        stacked = np.stack([np.column_stack([part.matrix, part.unpredicted]) for part in parts])
        few = max(1, TOGETHER // stacked[0].size)
        sums = (np.tensordot(times[start : start + few], stacked, 1) for start in range(0, len(times), few))
        counts = [cls(some[..., :-1], some[..., -1]) for some in sums]
        overall = _joined([one._means for one in counts])  # noqa: SLF001  # of the same class
        of_classes = _joined([one._of_classes for one in counts])  # noqa: SLF001
        classes = range(stacked.shape[1])
        return Sampled(overall, [{name: values[:, n] for name, values in of_classes.items()} for n in classes])

    @property
    def _means(self) -> Columns:
        """Metrics over the classes, (…)."""
        missing, found = self.unpredicted.sum(-1), self.matrix.sum((-2, -1))
        macros = {f"macro_{name}": means(self._of_classes[name]) for name in ("f1", "precision", "recall", "iou")}
        return {"accuracy": self.accuracy, **macros, "unpredicted": ratio(missing, missing + found)}

    @cached_property
    def _of_classes(self) -> Columns:
        """Metrics of each class, (…, class)."""
        return {"precision": self.precision, "recall": self.recall, "f1": self.f1, "iou": self.iou}

    @property
    def _found(self) -> NDArray[np.int64]:
        return np.diagonal(self.matrix, axis1=-2, axis2=-1)


@dataclass(frozen=True)
class Joined:
    """Class ids of the truth and of predictions, as one number a pixel for each prediction: counted part by part."""

    classes: int
    numbers: list[NDArray[np.uint8] | NDArray[np.uint16]]
    """True class × (classes + 1) + predicted class, of one shape; ``classes`` stands for none."""

    @classmethod
    def of(cls, truth: NDArray[np.uint8], predictions: Sequence[NDArray[np.uint8]], classes: int) -> Self:
        """Join ``truth`` with each of ``predictions``; where one of them lacks a class, no other is counted.

        All are class ids of one shape, IGNORE where there is none. Raises ValueError for other ids from ``classes`` on.
        """
        for what, ids in (("truth", truth), *(("prediction", each) for each in predictions)):
            if not all_known(ids, classes):
                wrong = [int(value) for value in np.unique(ids) if classes <= value != IGNORE]
                raise ValueError(f"the {what} holds class ids outside the {classes} classes: {wrong}")
        if len(predictions) > 1:
            lacking = np.logical_or.reduce([predicted == IGNORE for predicted in predictions])
            predictions = [np.where(lacking, np.uint8(IGNORE), predicted) for predicted in predictions]
        dtype, none = np.min_scalar_type((classes + 1) ** 2 - 1), np.uint8(classes)
        rows = np.minimum(truth, none).astype(dtype) * dtype.type(classes + 1)
        return cls(classes, [rows + np.minimum(predicted, none) for predicted in predictions])

    def counts(self, here: tuple[slice, ...] = ()) -> list[Confusion]:
        """Count each prediction in a part, or everywhere."""
        return [self._count(numbers[here]) for numbers in self.numbers]

    def _count(self, numbers: NDArray[Any]) -> Confusion:
        side = self.classes + 1
        bins = added(histogram(numbers), np.zeros(side**2, np.int64))[: side**2].reshape(side, side)
        return Confusion(bins[:-1, :-1].copy(), bins[:-1, -1].copy())


def confuse(truth: NDArray[np.uint8], predictions: Sequence[NDArray[np.uint8]], classes: int) -> list[Confusion]:
    """Count each of ``predictions`` against ``truth``, where all of them have a prediction, as ``Joined`` does."""
    return Joined.of(truth, predictions, classes).counts()


def rounded(metrics: Mapping[str, float | int | None]) -> Metrics:
    """Return ``metrics`` as they are written: ``shortened``."""
    return {name: shortened(value) if isinstance(value, float) else value for name, value in metrics.items()}


def shortened(value: float) -> float:
    """Return a number with at least four decimals and four significant digits; 0 where it is smaller than ZERO.

    Errors of values in a large unit, and areas of a small map, are far below 1.
    """
    small = ZERO < abs(value) < 0.1  # where as many decimals have fewer digits
    return float(f"{value:.{DIGITS}g}") if small else round(value, DIGITS)


def ratio(part: NDArray[Any], of: NDArray[Any]) -> NDArray[np.float64]:
    """Return ``part / of``, NaN where that is 0 / 0."""
    quotient: NDArray[np.float64] = np.divide(part, of, out=np.full(np.shape(of), np.nan), where=np.asarray(of) > 0)
    return quotient


def known(value: float | NDArray[np.float64]) -> float | None:
    """Return a metric as written: None if it is undefined."""
    return None if np.isnan(value) else float(value)


def means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the defined values of the last axis, NaN where there is none."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(-1), defined.sum(-1))


def macro(values: NDArray[np.float64]) -> float | None:
    """Return the mean of the defined values."""
    return known(means(values))


def _columns(rows: Sequence[Metrics]) -> Columns:
    return {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}


def _joined(columns: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([one[name] for one in columns]) for name in columns[0]}
