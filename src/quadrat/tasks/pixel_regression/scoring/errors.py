"""Sums of errors, and the metrics computed from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quadrat.tasks.common.metrics import Metrics, Sampled

ROUNDING = 1e-12
"""Share of a sum of squares below which a difference of two such sums is nothing but rounding."""


@dataclass(frozen=True)
class Errors:
    """Sums over pixels that have a label and a prediction; an error is the prediction minus the label."""

    pixels: int = 0
    error: float = 0.0
    absolute: float = 0.0
    squared: float = 0.0
    truth: float = 0.0
    """The sum of the labels."""
    spread: float = 0.0
    """The sum of the labels' squared differences from their mean."""
    unpredicted: int = 0
    """Number of pixels with a label but no prediction; only their share is a metric."""

    @classmethod
    def tallied(cls, tally: NDArray[np.float64], middle: float) -> "Errors":
        """Return the errors of ``quadrat.tasks.pixel_regression.scoring.tally.sums``."""
        known, pixels, error, absolute, squared, off, off_squared = tally.tolist()
        spread = off_squared - off**2 / max(pixels, 1)
        spread = spread if spread > ROUNDING * off_squared else 0.0  # of labels that are all equal, it is rounding
        truth = off + middle * pixels
        return cls(int(pixels), error, absolute, squared, truth, spread, int(known - pixels))

    def __add__(self, other: "Errors") -> "Errors":
        """Return both together; the spread after Chan, Golub and LeVeque (1983)."""
        between = 0.0
        if self.pixels and other.pixels:
            apart = other.truth / other.pixels - self.truth / self.pixels
            between = apart**2 * self.pixels * other.pixels / (self.pixels + other.pixels)
        return Errors(
            self.pixels + other.pixels,
            self.error + other.error,
            self.absolute + other.absolute,
            self.squared + other.squared,
            self.truth + other.truth,
            self.spread + other.spread + between,
            self.unpredicted + other.unpredicted,
        )

    def summary(self) -> Metrics:
        """Return MAE, RMSE, bias (the mean error), R² (undefined if all labels are equal), and support: px."""
        return {
            "mae": self._mean(self.absolute),
            "rmse": None if not self.pixels else float((self.squared / self.pixels) ** 0.5),
            "bias": self._mean(self.error),
            "r2": 1 - self.squared / self.spread if self.spread else None,
            "support": self.pixels,
        }

    def overall(self) -> Metrics:
        """Return ``summary``, and the share of labels without a prediction."""
        labels = self.pixels + self.unpredicted
        return {**self.summary(), "unpredicted": self.unpredicted / labels if labels else None}

    def per_class(self) -> list[Metrics]:
        """Return ``summary``, because there is one class."""
        return [self.summary()]

    def confused(self) -> NDArray[np.int64]:
        """Return counts of shape (0, 0), because there are no classes."""
        return np.zeros((0, 0), np.int64)

    def always(self, class_id: int) -> None:
        """Return None, because a constant value has no class id."""

    def curves(self) -> list[NDArray[np.float64]]:
        """Return none, because values have no scores."""
        return []

    def wrong(self) -> tuple[float, float]:
        """Return the sum of errors, and the number of pixels."""
        return self.error, float(self.pixels)

    @classmethod
    def resampled(cls, parts: Sequence["Errors"], times: NDArray[np.int64]) -> Sampled:
        """Return the metrics of the sum of ``parts`` for each row of ``times`` (sum, part)."""
        return Sampled.of(cls._sums_of(parts, times))

    @classmethod
    def _sums_of(cls, parts: Sequence["Errors"], times: NDArray[np.int64]) -> Iterator["Errors"]:
        """Yield the sum of ``parts`` for each row of ``times`` (sum, part)."""
        pixels = np.array([part.pixels for part in parts])
        truth = np.array([part.truth for part in parts])
        spread, means = np.array([part.spread for part in parts]), truth / np.maximum(pixels, 1)
        sums = np.array([(part.error, part.absolute, part.squared, part.unpredicted) for part in parts])
        for row in times:
            count, total = int(row @ pixels), float(row @ truth)
            error, absolute, squared, unpredicted = row @ sums
            # no difference of large sums: labels that are all equal have a spread of exactly 0
            around = float(row @ spread + (row * pixels) @ (means - total / max(count, 1)) ** 2)
            yield cls(count, error, absolute, squared, total, around, int(unpredicted))

    def _mean(self, total: float) -> float | None:
        return total / self.pixels if self.pixels else None


def compared(truth: NDArray[np.float32], predictions: Sequence[NDArray[np.float32]]) -> list[Errors]:
    """Return the errors of each of ``predictions``, where all of them have a value.

    All are of one shape, NaN where there is no value.
    """
    labelled = ~np.isnan(truth)
    counted = labelled & ~np.logical_or.reduce([np.isnan(predicted) for predicted in predictions])
    there = truth[counted].astype(np.float64)
    unpredicted = int(np.count_nonzero(labelled)) - there.size
    return [_errors(there, predicted[counted] - there, unpredicted) for predicted in predictions]


def _errors(truth: NDArray[np.float64], errors: NDArray[np.float64], unpredicted: int) -> Errors:
    if not truth.size:
        return Errors(unpredicted=unpredicted)
    return Errors(
        truth.size,
        float(errors.sum()),
        float(np.abs(errors).sum()),
        float((errors**2).sum()),
        float(truth.sum()),
        float(((truth - truth.mean()) ** 2).sum()),
        unpredicted,
    )
