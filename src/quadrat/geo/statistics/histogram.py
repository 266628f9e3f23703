"""Counts values of 8 and 16 bits in one pass, without a copy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

PIECE = 1 << 18
"""Values counted at once; with fewer, making and adding bins takes longer than counting."""

PAIRED = 1 << 14
"""With fewer bytes, or fewer than bins of pairs, adding those up takes longer than counting bytes one by one."""

FEW = 10
"""Up to this many values, comparing with each is faster than counting."""


def histogram(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return how often each value of a type of 8 or 16 bits occurs in ``values`` (any shape), from its lowest on.

    For unsigned 16 bits, the counts end at the largest of ``values``, because images mostly use few of their bits.
    """
    flat = np.ascontiguousarray(values).ravel()
    bins = _bytes(flat.view(np.uint8)) if flat.dtype.itemsize == 1 else _pieces(flat.view(np.uint16))
    if flat.dtype.kind != "i":
        return bins
    bins = added(bins, np.zeros(1 << 8 * flat.dtype.itemsize, np.int64))
    return np.roll(bins, bins.size // 2)  # the sign is the highest bit


def occurrences(values: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """Return how often each of 0 … ``count`` - 1 occurs in bytes (any shape)."""
    if count > FEW:
        return histogram(values)[:count]
    return np.array([np.count_nonzero(values == number) for number in range(count)], np.int64)


def _bytes(flat: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count bytes in pairs: in class maps, equal neighbours would make the processor wait for one bin."""
    rows = int(flat.max(initial=0)) + 1
    if flat.size < max(PAIRED, 256 * rows):
        return np.bincount(flat, minlength=256)
    even = flat.size // 2 * 2
    pairs = added(_pieces(flat[:even].view(np.uint16)), np.zeros(256 * rows, np.int64)).reshape(rows, 256)
    bins: NDArray[np.int64] = pairs.sum(0)
    bins[:rows] += pairs.sum(1)
    if even < flat.size:
        bins[flat[-1]] += 1
    return bins


def added(bins: NDArray[np.int64], more: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sum of both counts, in ``bins`` if they are long enough."""
    if more.size > bins.size:
        bins = np.concatenate([bins, np.zeros(more.size - bins.size, np.int64)])
    bins[: more.size] += more
    return bins


def _pieces(flat: NDArray[np.uint16]) -> NDArray[np.int64]:
    bins = np.zeros(0, np.int64)
    for start in range(0, flat.size, PIECE):
        bins = added(bins, np.bincount(flat[start : start + PIECE]))  # as many as the largest value needs
    return bins
