"""Computes overlaps of upright boxes, and finds overlapping pairs.

Boxes are (box, 4): left, top, right, bottom in px (x = column, y = row, corners).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.geo.grids.windows import Window
from quadrat.tasks.object_detection.section import Measure

Boxes = NDArray[np.floating[Any]]

PIECE = 256
"""Boxes per query, because each may meet all others."""


def outlined(boxes: Boxes) -> NDArray[np.object_]:
    """Return each box as a polygon (box,)."""
    left, top, right, bottom = boxes.T
    return np.asarray(shapely.box(left, top, right, bottom), object)


def areas(boxes: Boxes) -> NDArray[np.floating[Any]]:
    """Return the area of each box (box,), px²."""
    found: NDArray[np.floating[Any]] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return found


def centres(boxes: Boxes) -> Boxes:
    """Return the centre (column, row) of each box: (box, 2)."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def clipped(boxes: Boxes, window: Window) -> Boxes:
    """Return the boxes cut to the window; without an area if they are outside."""
    low, high = [window.col, window.row] * 2, [window.right, window.bottom] * 2
    return np.clip(boxes, low, high)


def centred(boxes: Boxes, window: Window, counted: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Return which boxes have their centre on a ``counted`` (y, x) pixel of the window."""
    cols, rows = np.floor(centres(boxes)).T - np.array([[window.col], [window.row]])
    hit: NDArray[np.bool_] = np.logical_and.reduce([cols >= 0, rows >= 0, cols < window.width, rows < window.height])
    if counted is not None:
        hit[hit] = counted[rows[hit].astype(np.intp), cols[hit].astype(np.intp)]
    return hit


def solid(boxes: Boxes) -> NDArray[np.bool_]:
    """Return which boxes have an area and finite sides."""
    return np.logical_and(np.isfinite(boxes).all(1), (boxes[:, 2:] > boxes[:, :2]).all(1))


def shared(one: Boxes, other: Boxes) -> NDArray[np.floating[Any]]:
    """Return the area that each pair of boxes (box, 4) shares, px²."""
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    both: NDArray[np.floating[Any]] = np.prod(np.maximum(sides, 0), axis=1)
    return both


def overlaps(one: Boxes, other: Boxes, measure: Measure) -> NDArray[np.floating[Any]]:
    """Return the overlap, from 0 to 1, of each pair (box,) of boxes (box, 4) with an area."""
    both, mine, theirs = shared(one, other), areas(one), areas(other)
    share: NDArray[np.floating[Any]] = both / (mine + theirs - both if measure == "iou" else np.minimum(mine, theirs))
    return share


class Index:
    """A spatial index of boxes: an STR-tree (Leutenegger et al. 1997)."""

    def __init__(self, boxes: Boxes) -> None:
        """Index ``boxes`` (box, 4)."""
        self._tree = shapely.STRtree(outlined(boxes))

    def meeting(self, boxes: Boxes) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield the numbers of all pairs of ``boxes`` and indexed boxes that meet, also only in a corner."""
        for start in range(0, len(boxes), PIECE):
            one, other = self._tree.query(outlined(boxes[start : start + PIECE]))
            yield one + start, other
