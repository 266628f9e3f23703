"""Scores as probabilities: temperatures, and the smallest scores of sets of classes that hold the truth."""

from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.runtime.formats.section import Section

if TYPE_CHECKING:
    from torch import Tensor

COLDEST, HOTTEST = 0.25, 16.0
"""Smallest and largest temperature: beyond them, powers of float32 are 0."""

PERCENTS = 50
"""Number of shares for which sets of classes are known: 1 % to 50 % of pixels whose set may lack the truth."""

CACHED = 1 << 14
"""Px processed at once, so that their scores stay in the processor's cache."""

Share = Annotated[float, Field(ge=0, le=1)]


class Calibration(Section):
    """How a model's scores become probabilities, learnt from validation chips: a part of ``model.json``.

    A temperature T (Guo et al. 2017) makes of scores p the scores p^(1/T), divided by their sum; of the score of a
    class by itself, p^(1/T) / (p^(1/T) + (1 - p)^(1/T)). Of logits z, that is softmax(z / T) or sigmoid(z / T). The
    largest score stays the largest one, and 0.5 stays 0.5.
    """

    temperatures: tuple[Annotated[float, Field(ge=COLDEST, le=HOTTEST)], ...] = Field(min_length=1, max_length=IGNORE)
    """One for classes that exclude each other, else one per class."""
    exclusive: bool
    """Whether the classes exclude each other: their scores sum to 1."""
    least: tuple[tuple[Share, ...], ...] | None = Field(default=None, max_length=IGNORE)
    """For each class the smallest probability with which it is in the set of classes of a pixel, if the set may lack
    the truth in 1 %, 2 %, …, PERCENTS % of the class's pixels; null for tasks without such sets."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.exclusive and len(self.temperatures) != 1:
            raise ValueError("classes that exclude each other have one temperature")
        if self.least is not None and any(len(each) != PERCENTS for each in self.least):
            raise ValueError(f"each class has {PERCENTS} smallest probabilities")
        return self

    def fits(self, classes: int) -> bool:
        """Return whether it is of so many classes."""
        each = None if self.exclusive else len(self.temperatures)
        return {each, None if self.least is None else len(self.least)} <= {None, classes}

    def applied(self, scores: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """Return probabilities of ``scores``, whose classes are along ``axis``."""
        return self._powered(scores, axis, 1 / np.array(self.temperatures))

    def undone(self, probabilities: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """Return the scores that ``applied`` took, up to rounding."""
        return self._powered(probabilities, axis, np.array(self.temperatures))

    def applied_to(self, scores: "Tensor") -> "Tensor":
        """Return probabilities of ``scores`` (class, y, x) of classes that exclude each other, on their device."""
        (temperature,) = self.temperatures
        if temperature == 1:
            return scores
        raised = (scores / scores.amax(0, keepdim=True).clamp_min(1e-37)) ** (1 / temperature)
        return raised / raised.sum(0, keepdim=True).clamp_min(1)

    def largest(self, scores: NDArray[np.float32], largest: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the largest probability (y, x) of ``scores`` (class, y, x), of which the ``largest`` is known.

        It takes a fifth of the time of ``applied``, and no memory for other classes.
        """
        (temperature,) = self.temperatures
        if temperature == 1:
            return largest
        found, step = np.empty_like(largest), max(1, CACHED // largest.shape[1])
        for row in range(0, len(largest), step):
            rows = slice(row, row + step)
            log = _log(largest[rows])
            total = sum(_raised(score, log, 1 / temperature) for score in scores[:, rows])
            np.divide(1, np.maximum(total, 1), out=found[rows])
        return found

    def of_class(self, scores: NDArray[np.float32], class_ids: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities of ``scores`` (item,), each of one class, of ``class_ids`` that don't exclude others."""
        return _odds(scores, (1 / np.array(self.temperatures))[class_ids])

    def _powered(self, scores: NDArray[np.float32], axis: int, powers: NDArray[np.float64]) -> NDArray[np.float32]:
        if np.all(powers == 1):
            return scores
        if self.exclusive:
            raised = _raised(scores, _log(scores.max(axis, keepdims=True)), float(powers[0]))
            raised /= np.maximum(raised.sum(axis, keepdims=True), 1)  # 1 is the largest; 0 where there are no scores
            return raised
        return _odds(scores, powers.reshape([-1 if n == axis % scores.ndim else 1 for n in range(scores.ndim)]))


def _log(largest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logarithm of the largest scores, a finite one where there are none."""
    log: NDArray[np.float32] = np.log(np.maximum(largest, np.finfo(np.float32).tiny))
    return log


def _raised(scores: NDArray[np.float32], log: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    """Return (scores / largest) ** power; by logarithms, which processors compute several at once, unlike powers.

    ``log`` is the logarithm of the largest.
    """
    with np.errstate(divide="ignore"):  # the logarithm of 0 is -inf, of which the power is 0
        raised: NDArray[np.float32] = np.log(scores)
    raised -= log
    raised *= np.float32(power)
    return np.exp(raised, out=raised)


def _odds(scores: NDArray[np.float32], powers: NDArray[Any]) -> NDArray[np.float32]:
    """Return s^power / (s^power + (1 - s)^power); a score of 0.5 stays."""
    yes, no = scores.astype(np.float64) ** powers, (1 - scores.astype(np.float64)) ** powers
    probable: NDArray[np.float32] = (yes / (yes + no)).astype(np.float32)
    return probable
