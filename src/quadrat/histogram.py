"""How often each value of small whole numbers occurs: one look at each, and no copy of all."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

PIECE = 1 << 17
"""Values that are counted at once: what is made of them stays in the processor's cache."""

FEW = 10
"""Values that are sooner compared with, one by one, than counted."""


def histogram(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return how often each value of a type of 8 or 16 bits occurs in ``values`` (any shape), from the lowest on."""
    flat = np.ascontiguousarray(values).ravel()
    bins = _bytes(flat.view(np.uint8)) if flat.dtype.itemsize == 1 else _pieces(flat.view(np.uint16))
    return np.roll(bins, bins.size // 2) if flat.dtype.kind == "i" else bins  # the sign is the highest bit


def occurrences(values: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """Return how often each of 0 … ``count`` - 1 occurs in bytes (any shape)."""
    if count > FEW:
        return histogram(values)[:count]
    return np.array([np.count_nonzero(values == number) for number in range(count)], np.int64)


def _bytes(flat: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count bytes two at a time: in maps of classes a byte mostly equals the last, and one bin must not wait for it."""
    even = flat.size // 2 * 2
    pairs = _pieces(flat[:even].view(np.uint16)).reshape(256, 256)
    bins: NDArray[np.int64] = pairs.sum(0) + pairs.sum(1)
    if even < flat.size:
        bins[flat[-1]] += 1
    return bins


def _pieces(flat: NDArray[np.uint16]) -> NDArray[np.int64]:
    bins = np.zeros(1 << 16, np.int64)
    for start in range(0, flat.size, PIECE):
        found = np.bincount(flat[start : start + PIECE])  # as many as the largest value needs
        bins[: found.size] += found
    return bins
