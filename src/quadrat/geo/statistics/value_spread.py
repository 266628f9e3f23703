"""Counts values of any type in at most CELLS cells, which are as fine as possible.

A value's key is an unsigned integer that sorts like the values; for floats, it is the IEEE 754 bits (inverted for
negative values). A cell holds all keys that differ only in their last ``shift`` bits. The shift is the smallest with at
most CELLS cells, so it depends only on the values, not on their order or grouping. Few values are counted exactly.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CELLS = 65_536
"""Largest number of cells."""

DENSE = 1 << 21
"""Widest range of cells that is counted in an array instead of sorted."""


@dataclass(frozen=True)
class Spread:
    """The count of values in each cell; ``cells`` rise, and none is empty."""

    dtype: np.dtype[Any]
    shift: int
    cells: NDArray[np.uint64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[Any], shift: int = 0) -> "Spread":
        """Count ``values`` (any shape; at least one, all finite) in cells of at least ``shift`` bits."""
        keys = _keys(values.ravel()) >> np.uint64(shift)
        low, high = keys.min(), keys.max()
        if high - low < DENSE:
            dense = np.bincount((keys - low).astype(np.int64))
            found = np.flatnonzero(dense)
            return cls(values.dtype, shift, found.astype(np.uint64) + low, dense[found]).fitted()
        cells, counts = np.unique(keys, return_counts=True)
        return cls(values.dtype, shift, cells, counts).fitted()

    def joined(self, other: "Spread") -> "Spread":
        """Return the sum of both counts."""
        shift = max(self.shift, other.shift)
        parts = [one.shifted(shift) for one in (self, other)]
        cells = np.concatenate([one.cells for one in parts])
        counts = np.concatenate([one.counts for one in parts])
        return Spread(self.dtype, shift, *_summed(cells, counts)).fitted()

    def values(self) -> NDArray[Any]:
        """Return a value of each cell, rising: the value itself if the cell has only one, else the middle."""
        half = np.uint64((1 << self.shift) >> 1)
        return _values((self.cells << np.uint64(self.shift)) | half, self.dtype)

    def fitted(self) -> "Spread":
        """Return the same in the finest cells that are at most CELLS."""
        if self.cells.size <= CELLS:
            return self
        apart = self.cells[1:] ^ self.cells[:-1]  # neighbours merge once all their different bits are dropped
        fewer = next(bits for bits in range(64) if np.count_nonzero(apart >> np.uint64(bits)) < CELLS)
        return self.shifted(self.shift + fewer)

    def shifted(self, shift: int) -> "Spread":
        """Return the same in cells of ``shift`` bits, at least the current shift."""
        if shift == self.shift:
            return self
        cells = self.cells >> np.uint64(shift - self.shift)
        return Spread(self.dtype, shift, *_summed(cells, self.counts, ordered=True))


def _summed(
    cells: NDArray[np.uint64], counts: NDArray[np.int64], *, ordered: bool = False
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return each cell once, rising, with all its counts."""
    if not ordered:
        order = np.argsort(cells, kind="stable")
        cells, counts = cells[order], counts[order]
    starts = np.flatnonzero(np.concatenate([[True], cells[1:] != cells[:-1]]))
    return cells[starts], np.add.reduceat(counts, starts)


def _keys(values: NDArray[Any]) -> NDArray[np.uint64]:
    bits = values.dtype.itemsize * 8
    raw = np.ascontiguousarray(values).view(f"u{bits // 8}")
    sign = raw.dtype.type(1 << (bits - 1))
    if values.dtype.kind == "i":
        raw = raw ^ sign
    elif values.dtype.kind == "f":
        raw = np.where(raw & sign, ~raw, raw | sign)
    return raw.astype(np.uint64)


def _values(keys: NDArray[np.uint64], dtype: np.dtype[Any]) -> NDArray[Any]:
    bits = dtype.itemsize * 8
    raw = keys.astype(f"u{bits // 8}")
    sign = raw.dtype.type(1 << (bits - 1))
    if dtype.kind == "i":
        raw = raw ^ sign
    elif dtype.kind == "f":
        raw = np.where(raw & sign, raw ^ sign, ~raw)
    return raw.view(dtype)
