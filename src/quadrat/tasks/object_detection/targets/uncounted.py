"""Boxes around ground that does not count: beyond the AOI or the image, it may show objects without labels."""

import numpy as np
from numpy.typing import NDArray

MOST = 16
"""Most boxes of a window; what they leave is the smallest corners of ragged ground."""


def covering(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return boxes (box, 4) of nothing but True pixels of ``mask`` (y, x), the largest first.

    Boxes are left, top, right and bottom, and may overlap. Each is as tall as it can be, and covers most of what those
    before it leave; straight ground, such as beyond an image's edge, is covered wholly.
    """
    if not mask.any():
        return np.empty((0, 4), np.int64)
    tall, left, kept = _tall(mask), mask.copy(), list[NDArray[np.int64]]()
    while len(kept) < MOST and left.any():
        sums = np.pad(left.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        first, top, last, bottom = tall.T
        best = tall[np.argmax(sums[bottom, last] - sums[top, last] - sums[bottom, first] + sums[top, first])]
        kept.append(best)
        left[best[1] : best[3], best[0] : best[2]] = False
    return np.stack(kept)


def _tall(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the runs of True in each row, as boxes that reach up and down as far as all of the run is True."""
    height, width = mask.shape
    steps = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)  # (y, width + 1)
    rows, first = np.nonzero(steps == 1)
    last = np.nonzero(steps == -1)[1]
    above = np.zeros(mask.shape, np.int64)  # True pixels in a column that end with this one, as ``below`` begin with it
    below = np.zeros(mask.shape, np.int64)
    for row in range(height):
        above[row] = np.where(mask[row], above[row - 1] * (row > 0) + 1, 0)
    for row in reversed(range(height)):
        below[row] = np.where(mask[row], (below[row + 1] if row + 1 < height else 0) + 1, 0)
    ends = np.column_stack([rows * width + first, rows * width + last]).ravel()
    up, down = (
        np.minimum.reduceat(np.append(each.ravel(), 0), ends)[::2] for each in (above, below)
    )  # of every second part, between two runs, nothing is asked
    return np.unique(np.column_stack([first, rows + 1 - up, last, rows + down]), axis=0)
