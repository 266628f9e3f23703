"""Exact statistics of bands, added up strip by strip.

Integers are summed without rounding, so no order or grouping can change a digit. Floats are summed in
float64 per strip and merged in the order of the strips (Chan, Golub & LeVeque 1983), which is fixed.
The distribution is counted in 65,536 bins: each value of a band of up to 16 bits has its own, and any other
band is binned by the upper 16 bits of its values as float32 (bfloat16: 0.8 % of a value wide).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    total: int | float = 0
    squares: int | float = 0
    """For integers the sum of squares; for floats the sum of squared differences from the mean."""
    low: float = math.inf
    high: float = -math.inf
    bins: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: NDArray[Any]) -> None:
        """Count ``values`` (any shape), all of them valid."""
        if not values.size:
            return
        self.merge(_tally(values.ravel(), self.dtype))

    def merge(self, other: "Tally") -> None:
        """Count what ``other`` has counted after this."""
        if not other.count:
            return
        if not _exact(self.dtype) and self.count:
            shift = other.total / other.count - self.total / self.count
            self.squares += shift * shift * self.count * other.count / (self.count + other.count)
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.bins += other.bins

    def statistics(self, band: str, percentages: Sequence[float], histogram_bins: int) -> BandStatistics:
        """Return the statistics of all that was counted; at least one value must have been."""
        values, counts = _values(self.dtype)[self.bins > 0], self.bins[self.bins > 0]
        values = np.clip(values, self.low, self.high)
        below = np.cumsum(counts)
        ranks = [max(1, math.ceil(p / 100 * self.count)) for p in percentages]
        found = values[np.searchsorted(below, ranks)]
        histogram, _ = np.histogram(values, histogram_bins, (self.low, self.high), weights=counts)
        return BandStatistics(
            band=band,
            count=self.count,
            mean=float(self.total / self.count),
            std=math.sqrt(self._variance()),
            min=float(self.low),
            max=float(self.high),
            percentiles={f"{p:g}": float(v) for p, v in zip(percentages, found, strict=True)},
            histogram=tuple(int(n) for n in np.rint(histogram)),
        )

    def _variance(self) -> float:
        if _exact(self.dtype):
            return float((self.count * self.squares - self.total * self.total) / (self.count * self.count))
        return float(self.squares / self.count)


def _exact(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iub" and dtype.itemsize <= 2


def _tally(values: NDArray[Any], dtype: np.dtype[Any]) -> Tally:
    low, high = values.min().item(), values.max().item()
    if _exact(dtype):
        bins = np.bincount(values.astype(np.int64) - _lowest(dtype), minlength=BINS)
        seen = np.flatnonzero(bins)
        # exact for any number of pixels: Python's integers don't overflow
        pairs = [(int(n), int(v) + _lowest(dtype)) for n, v in zip(bins[seen], seen, strict=True)]
        total, squares = sum(n * v for n, v in pairs), sum(n * v * v for n, v in pairs)
        return Tally(dtype, values.size, total, squares, low, high, bins)
    wide = values.astype(np.float64)
    spread = np.square(wide - wide.sum() / wide.size)
    bins = np.bincount(_keys(values), minlength=BINS)
    return Tally(dtype, values.size, float(wide.sum()), float(spread.sum()), low, high, bins)


def _lowest(dtype: np.dtype[Any]) -> int:
    return int(np.iinfo(dtype).min)


def _keys(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return the upper half of each value's float32 bits, turned so that keys sort as values do."""
    bits = values.astype(np.float32).view(np.uint32)
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (ordered >> 16).astype(np.int64)


def _values(dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """Return the value that each bin stands for: the value itself, or the middle of the bin."""
    keys = np.arange(BINS, dtype=np.uint32)
    if _exact(dtype):
        return keys.astype(np.float64) + _lowest(dtype)
    ordered = (keys << 16) | np.uint32(1 << 15)
    bits = np.where(ordered >> 31, ordered & np.uint32(0x7FFFFFFF), ~ordered)
    with np.errstate(invalid="ignore"):  # keys of NaN stand for no value and are never counted
        return bits.view(np.float32).astype(np.float64)
