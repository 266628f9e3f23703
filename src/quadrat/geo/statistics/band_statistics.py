"""Exact statistics of bands, added up strip by strip.

Integers are summed without rounding, so no order or grouping can change the mean. Floats, and squares of integers of
more than 16 bits, are summed in float64 per strip and merged in the order of the strips (Chan, Golub & LeVeque 1983),
which is fixed. The distribution is counted in up to 65,536 cells (``quadrat.geo.statistics.value_spread``): each value
of up to 16 bits, or with no more different ones, has its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.resampling import ResamplingName
from quadrat.geo.statistics.histogram import added, histogram
from quadrat.geo.statistics.value_spread import Spread
from quadrat.runtime.formats.section import Section


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
    resampling: ResamplingName | None = None
    """How its files were brought to the grid of most train scenes where they had another; null where they had it."""


class Statistics(Section):
    """``stats.json``."""

    bands: tuple[BandStatistics, ...]


@dataclass
class Tally:
    """Statistics of one band so far; ``add`` strips in order, ``merge`` tallies in order."""

    dtype: np.dtype[Any]
    count: int = 0
    bins: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """For integers of up to 16 bits: the counts of all values from the lowest on, up to the largest that occurs."""
    sums: "Sums | None" = None
    """For other types only; for integers of up to 16 bits, the bins are enough."""
    spread: Spread | None = None
    """For other types only."""

    def add(self, values: NDArray[Any]) -> None:
        """Count ``values`` (any shape), all of them valid."""
        if not values.size:
            return
        values = values.ravel().astype(self.dtype, copy=False)
        if _exact(self.dtype):
            self.merge(Tally(self.dtype, values.size, histogram(values)))
        else:
            spread = Spread.of(values, 0 if self.spread is None else self.spread.shift)
            self.merge(Tally(self.dtype, values.size, sums=Sums.of(values), spread=spread))

    def merge(self, other: "Tally") -> None:
        """Add the counts of ``other``, which follows this."""
        if other.sums is not None:
            self.sums = other.sums if self.sums is None else self.sums.joined(other.sums, self.count, other.count)
        if other.spread is not None:
            self.spread = other.spread if self.spread is None else self.spread.joined(other.spread)
        self.count += other.count
        self.bins = added(self.bins, other.bins)

    def statistics(self, band: str, percentages: Sequence[float], histogram_bins: int) -> BandStatistics:
        """Return the statistics of the counted values; there must be at least one."""
        values, counts = self._distribution()
        sums = self.sums or Sums.of_bins(values, counts)
        values = np.clip(values, sums.low, sums.high)  # the middle of a cell may be outside the range
        below = np.cumsum(counts)
        ranks = [max(1, math.ceil(p / 100 * self.count)) for p in percentages]
        least = values[np.searchsorted(below, ranks)]
        return BandStatistics(
            band=band,
            count=self.count,
            mean=float(sums.total / self.count),
            std=math.sqrt(sums.variance),
            min=float(sums.low),
            max=float(sums.high),
            percentiles={f"{p:g}": float(v) for p, v in zip(percentages, least, strict=True)},
            histogram=_histogram(values, counts, histogram_bins),
        )

    def _distribution(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return values or cell middles (n,) in rising order, and the count of each."""
        if self.spread is not None:
            values = self.spread.values()
            return values.astype(np.float64) if values.dtype.kind == "f" else values, self.spread.counts
        found = np.flatnonzero(self.bins)
        lowest = 0 if self.dtype.kind == "b" else np.iinfo(self.dtype).min
        return found + lowest, self.bins[found]


@dataclass(frozen=True)
class Sums:
    """The sum, the variance of the population, and the least and largest value."""

    total: int | float
    variance: float
    low: float
    high: float

    @classmethod
    def of(cls, values: NDArray[Any]) -> "Sums":
        """Return the sums of values (n,), all finite."""
        low, high = values.min().item(), values.max().item()
        if values.dtype.kind == "f":
            wide = values.astype(np.float64)
            total = float(wide.sum())
            return cls(total, float(np.square(wide - total / values.size).mean()), low, high)
        above = values.astype(np.uint64) - np.uint64(low % 2**64)  # wraps around, which is correct for any sign
        total = (int((above >> np.uint64(32)).sum()) << 32) + int((above & np.uint64(0xFFFFFFFF)).sum())
        spread = above.astype(np.float64) - total / values.size
        return cls(low * values.size + total, float(np.square(spread).mean()), low, high)

    @classmethod
    def of_bins(cls, values: NDArray[np.int64], counts: NDArray[np.int64]) -> "Sums":
        """Return the sums of whole ``values`` (n,), rising, that occur ``counts`` times: exact for any number of them.

        Python's integers don't overflow.
        """
        pairs = list(zip(counts.tolist(), values.tolist(), strict=True))
        count, total, squares = sum(n for n, _ in pairs), sum(n * v for n, v in pairs), sum(n * v * v for n, v in pairs)
        return cls(total, float((count * squares - total * total) / (count * count)), pairs[0][1], pairs[-1][1])

    def joined(self, other: "Sums", count: int, more: int) -> "Sums":
        """Return the joint sums: these sums are of ``count`` values, ``other`` of ``more`` values."""
        if isinstance(self.total, int) and isinstance(other.total, int):  # exact, however large the sums are
            shift = (other.total * count - self.total * more) / (count * more)
        else:
            shift = other.total / more - self.total / count
        squares = self.variance * count + other.variance * more + shift * shift * count * more / (count + more)
        variance = squares / (count + more)
        return Sums(self.total + other.total, variance, min(self.low, other.low), max(self.high, other.high))


def _exact(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iub" and dtype.itemsize <= 2


def _histogram(values: NDArray[Any], counts: NDArray[np.int64], bins: int) -> tuple[int, ...]:
    """Count ``values`` (n,), rising, in equal bins from the first to the last; a single value is in the middle bin."""
    if values.dtype.kind == "f":
        # halved, because the difference may overflow
        above, span = values / 2 - values[0] / 2, values[-1] / 2 - values[0] / 2
    elif values[0].item() >= -(2**16) and values[-1].item() < 2**16:
        return tuple(np.histogram(values, bins, (values[0], values[-1]), weights=counts)[0].astype(np.int64).tolist())
    else:
        above = values.astype(np.uint64) - np.uint64(int(values[0]) % 2**64)
        span = float(above[-1])
    share = above / span if span else np.full(values.shape, 0.5)
    places = np.minimum((share * bins).astype(np.int64), bins - 1)
    return tuple(np.bincount(places, counts, bins).round().astype(np.int64).tolist())
