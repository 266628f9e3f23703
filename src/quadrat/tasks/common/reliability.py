"""How often the probability of a prediction is right: counts that add up, and figures of them.

The expected calibration error is that of Guo et al. (2017), over BINS bins of equal width: the mean difference between
how probable and how often correct the predictions of a bin are, weighted by their number.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.statistics.histogram import added, histogram
from quadrat.tasks.common.metrics import known, ratio
from quadrat.tasks.common.outputs import SCORE_STEPS

CALIBRATED, UNCALIBRATED = PROBABILITIES = ("calibrated", "uncalibrated")
"""Names of probabilities as they are given, and as they were before the model's calibration."""

BINS = 15
"""Number of bins of equal width."""

STEPS = np.arange(SCORE_STEPS + 1)


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predictions by the probability of what was predicted, in steps of 1 / SCORE_STEPS."""

    counts: NDArray[np.int64]
    """(all or correct, step)."""

    @classmethod
    def none(cls) -> Self:
        """Return counts of nothing."""
        return cls(np.zeros((2, len(STEPS)), np.int64))

    @classmethod
    def of(cls, steps: NDArray[np.uint8], right: NDArray[np.bool_]) -> Self:
        """Count predictions (item,) of probabilities ``steps`` / SCORE_STEPS, and whether they are correct."""
        every, correct = (np.bincount(some, minlength=len(STEPS)) for some in (steps, steps[right]))
        return cls(np.stack([every, correct])[:, : len(STEPS)])

    @classmethod
    def of_maps(
        cls, steps: NDArray[np.uint8], truth: NDArray[np.uint8], predicted: NDArray[np.uint8]
    ) -> "list[Reliability]":
        """Count maps of ``steps`` (map, y, x) where there is a label, ``truth`` (y, x), and a class, ``predicted``.

        Steps and whether they are right are counted together, in one pass.
        """
        right = (truth == predicted).astype(np.uint16) << 8
        nowhere = ((truth == IGNORE) | (predicted == IGNORE)) * np.uint8(IGNORE)  # all bits of a step
        counts = []
        for each in steps:
            wrong, correct = added(histogram((each | nowhere) | right), np.zeros(512, np.int64)).reshape(2, 256)
            counts.append(cls(np.stack([wrong + correct, correct])[:, : len(STEPS)]))
        return counts

    @classmethod
    def of_scores(cls, scores: NDArray[np.float32], right: NDArray[np.bool_]) -> Self:
        """Count predictions (item,) of probabilities ``scores``, and whether they are correct."""
        return cls.of(np.rint(scores * SCORE_STEPS).astype(np.uint8), right)

    def __add__(self, other: Self) -> Self:
        """Return both counts together."""
        return type(self)(self.counts + other.counts)

    def bins(self) -> NDArray[np.float64]:
        """Return for each bin its number, the mean probability and the share that is correct, (bin, 3); NaN of none."""
        bins = np.minimum(STEPS * BINS // SCORE_STEPS, BINS - 1)
        every, correct, total = (
            np.bincount(bins, some, BINS) for some in (*self.counts, self.counts[0] * STEPS / SCORE_STEPS)
        )
        return np.column_stack([every, ratio(total, every), ratio(correct, every)])

    @property
    def error(self) -> float | None:
        """The expected calibration error; None of nothing."""
        number, probable, correct = self.bins().T
        return known(ratio(np.nansum(number * np.abs(probable - correct)), number.sum()))


@dataclass(frozen=True, eq=False)
class Coverage:
    """How often sets of classes hold the truth."""

    held: NDArray[np.int64]
    """(class, 2): labelled pixels with a set, and those whose set holds the label."""
    sets: NDArray[np.int64]
    """(3,): sets of no class, one class, and several classes."""

    @classmethod
    def none(cls, classes: int) -> Self:
        """Return counts of nothing."""
        return cls(np.zeros((classes, 2), np.int64), np.zeros(3, np.int64))

    @classmethod
    def of(cls, truth: NDArray[np.uint8], sets: NDArray[np.bool_]) -> Self:
        """Count the ``sets`` (class, item) of items with the class ids ``truth`` (item,)."""
        inside = sets[truth, np.arange(len(truth))]
        held = [np.bincount(some, minlength=len(sets)) for some in (truth, truth[inside])]
        return cls(np.stack(held, 1), np.bincount(np.minimum(sets.sum(0), 2), minlength=3))

    def __add__(self, other: Self) -> Self:
        """Return both counts together."""
        return type(self)(self.held + other.held, self.sets + other.sets)

    @property
    def covered(self) -> NDArray[np.float64]:
        """(class,) The share of sets that hold the truth; NaN of none."""
        return ratio(self.held[:, 1], self.held[:, 0])
