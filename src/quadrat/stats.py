"""Exact statistics of bands, added up strip by strip.

Integers are summed without rounding, so no order or grouping can change a digit. Floats are summed in
float64 per strip and merged in the order of the strips (Chan, Golub & LeVeque 1983), which is fixed.
The distribution is counted in up to 65,536 bins: each value of a band of up to 16 bits has its own, and any other
band is binned by the upper 16 bits of its values as float32 (bfloat16: 0.8 % of a value wide).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadrat.histogram import added, histogram
from quadrat.section import Section

BINS = 65_536


class BandStatistics(Section):
    """One band over train ∩ AOI ∩ valid, in raw values; ``std`` is that of the population (n in the divisor)."""

    band: str
    count: int
    mean: float
    std: float
    min: float
    max: float
    percentiles: dict[str, float]
    """Values by percentage: the smallest value that at least this share of the pixels does not exceed."""
    histogram: tuple[int, ...]
    """Pixels in equal bins from ``min`` to ``max``, both included."""


class Statistics(Section):
    """``stats.json``."""

    bands: tuple[BandStatistics, ...]


@dataclass
class Tally:
    """What has been seen of one band so far; ``add`` strips in order, ``merge`` tallies in order."""

    dtype: np.dtype[Any]
    count: int = 0
    bins: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """How often each value occurs, from the lowest on; no further than the longest that was counted."""
    sums: "Sums | None" = None
    """Of floats; of integers of up to 16 bits, the bins tell all."""

    def add(self, values: NDArray[Any]) -> None:
        """Count ``values`` (any shape), all of them valid."""
        if not values.size:
            return
        self.merge(_tally(values.ravel(), self.dtype))

    def merge(self, other: "Tally") -> None:
        """Count what ``other`` has counted after this."""
        if other.sums is not None:
            self.sums = other.sums if self.sums is None else self.sums.joined(other.sums, self.count, other.count)
        self.count += other.count
        self.bins = added(self.bins, other.bins)

    def statistics(self, band: str, percentages: Sequence[float], histogram_bins: int) -> BandStatistics:
        """Return the statistics of all that was counted; at least one value must have been."""
        found = np.flatnonzero(self.bins)
        values, counts = _values(self.dtype)[found], self.bins[found]
        sums = self.sums or Sums.of_bins(values, counts)
        values = np.clip(values, sums.low, sums.high)
        below = np.cumsum(counts)
        ranks = [max(1, math.ceil(p / 100 * self.count)) for p in percentages]
        least = values[np.searchsorted(below, ranks)]
        histogram, _ = np.histogram(values, histogram_bins, (sums.low, sums.high), weights=counts)
        return BandStatistics(
            band=band,
            count=self.count,
            mean=float(sums.total / self.count),
            std=math.sqrt(sums.variance),
            min=float(sums.low),
            max=float(sums.high),
            percentiles={f"{p:g}": float(v) for p, v in zip(percentages, least, strict=True)},
            histogram=tuple(int(n) for n in np.rint(histogram)),
        )


@dataclass(frozen=True)
class Sums:
    """The sum, the variance of the population, and the least and largest value."""

    total: int | float
    variance: float
    low: float
    high: float

    @classmethod
    def of_bins(cls, values: NDArray[np.float64], counts: NDArray[np.int64]) -> "Sums":
        """Return the sums of whole ``values`` (n,), rising, that occur ``counts`` times: exact for any number of them.

        Python's integers don't overflow.
        """
        pairs = [(n, int(v)) for n, v in zip(counts.tolist(), values.tolist(), strict=True)]
        count, total, squares = sum(n for n, _ in pairs), sum(n * v for n, v in pairs), sum(n * v * v for n, v in pairs)
        return cls(total, float((count * squares - total * total) / (count * count)), pairs[0][1], pairs[-1][1])

    def joined(self, other: "Sums", count: int, more: int) -> "Sums":
        """Return the sums of ``count`` values, of which these are, with ``more`` of which ``other`` are."""
        shift = other.total / more - self.total / count
        squares = self.variance * count + other.variance * more + shift * shift * count * more / (count + more)
        variance = squares / (count + more)
        return Sums(self.total + other.total, variance, min(self.low, other.low), max(self.high, other.high))


def _exact(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iub" and dtype.itemsize <= 2


def _tally(values: NDArray[Any], dtype: np.dtype[Any]) -> Tally:
    if _exact(dtype):
        bins = histogram(values.astype(dtype, copy=False))
        return Tally(dtype, values.size, bins)
    wide = values.astype(np.float64)
    spread = np.square(wide - wide.sum() / wide.size)
    bins = np.bincount(_keys(values), minlength=BINS)
    low, high = values.min().item(), values.max().item()
    return Tally(dtype, values.size, bins, Sums(float(wide.sum()), float(spread.mean()), low, high))


def _keys(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return the upper half of each value's float32 bits, turned so that keys sort as values do."""
    bits = values.astype(np.float32).view(np.uint32)
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (ordered >> 16).astype(np.int64)


def _values(dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """Return the value that each bin stands for: the value itself, or the middle of the bin."""
    keys = np.arange(BINS, dtype=np.uint32)
    if _exact(dtype):
        lowest = 0 if dtype.kind == "b" else np.iinfo(dtype).min
        return keys.astype(np.float64) + lowest
    ordered = (keys << 16) | np.uint32(1 << 15)
    bits = np.where(ordered >> 31, ordered & np.uint32(0x7FFFFFFF), ~ordered)
    with np.errstate(invalid="ignore"):  # keys of NaN stand for no value and are never counted
        return bits.view(np.float32).astype(np.float64)
