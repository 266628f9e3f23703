"""Converts label rasters to polygons strip by strip; the result does not depend on the height of the strips.

A strip gives runs of equal pixels, and corners where edges between pixels bend. Runs that touch are joined into
components, also across the seam to the strip above. For a component that reaches the strip's last row, only sums and
corners are kept; when it ends, its corners are linked to rings (see ``rings``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from quadrat.tasks.semantic_segmentation.layers import rings
from quadrat.tasks.semantic_segmentation.layers.runs import GRAIN, Runs

Integers = NDArray[np.int64]

AT_ONCE = 2**22
"""Pixels processed at once; more take more memory and are not faster."""


@dataclass(frozen=True)
class Polygons:
    """Finished polygons in pixel coordinates (x = column, y = row, on corners of pixels), one component each."""

    geometry: NDArray[np.object_]
    """(n,) shapely polygons, with holes."""
    class_id: NDArray[np.uint8]
    """(n,)"""
    score: NDArray[np.float32]
    """(n,) means over the component's pixels."""
    pixels: Integers
    """(n,) numbers of pixels."""

    def __len__(self) -> int:
        """Return the number of polygons."""
        return len(self.geometry)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the concatenated polygons of all parts."""
        return cls(
            np.concatenate([np.zeros(0, np.object_), *(part.geometry for part in parts)]),
            np.concatenate([np.zeros(0, np.uint8), *(part.class_id for part in parts)]),
            np.concatenate([np.zeros(0, np.float32), *(part.score for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.pixels for part in parts)]),
        )


class Polygoniser:
    """Takes a label raster's rows from top to bottom and gives finished polygons.

    A polygon is a 4-connected component of one class; pixels of class ``ignore`` make none. Components of fewer
    than ``min_pixels`` px are dropped. Polygons are ordered by their last pixels, row by row, so the order does not
    depend on the strips. Memory: about 30 bytes per pixel of a strip (at most 4 Mpx), and 8 per corner of open
    components.
    """

    def __init__(self, col: int = 0, min_pixels: int = 1, ignore: int = 255) -> None:
        """Start a raster whose strips begin at column ``col`` of the grid."""
        self._col, self._min_pixels, self._ignore = col, min_pixels, ignore
        self._row = 0
        self._above: NDArray[np.uint8] | None = None
        self._open = _Tally.empty(0)
        self._touching = np.zeros(0, np.int64)  # the open component of each run in the last row
        self._corners: list[list[Integers]] = []  # packed, for each open component

    def add(self, row: int, labels: NDArray[np.uint8], scores: NDArray[np.float32]) -> Polygons:
        """Take ``labels`` (y, x) and ``scores`` (y, x; 0 to 1) from ``row`` on; return finished polygons.

        Skipped rows count as ``ignore``. Raises ValueError for strips of different width or not in order, and for
        scores of labelled pixels that are not finite.
        """
        height, width = labels.shape
        if scores.shape != labels.shape or (self._above is not None and self._above.size != width):
            raise ValueError(f"strips must be of one width: labels {labels.shape}, scores {scores.shape}")
        if row < self._row:
            raise ValueError(f"strips must come from top to bottom: row {row} after row {self._row - 1}")
        parts = [self.close()] if row > self._row else []
        self._row = row
        step = max(1, AT_ONCE // width)
        for top in range(0, height, step):
            parts.append(self._advance(labels[top : top + step], scores[top : top + step]))
            self._row += len(labels[top : top + step])
        return Polygons.joined(parts)

    def close(self) -> Polygons:
        """Return the remaining polygons, as if a row of ``ignore`` followed."""
        if self._above is None:
            return Polygons.joined([])
        edge = np.full((1, self._above.size), self._ignore, np.uint8)
        return self._advance(edge, np.zeros(edge.shape, np.float32))

    def _advance(self, labels: NDArray[np.uint8], scores: NDArray[np.float32]) -> Polygons:
        above = np.full(labels.shape[1], self._ignore, np.uint8) if self._above is None else self._above
        block = Runs.of(above, labels, self._ignore)
        tally, number = self._united(block, scores)
        runs, held = number[: block.starts.size], number[block.starts.size :]
        stays, touching = np.unique(runs[block.bottom :], return_inverse=True)
        goes = tally.pixels >= self._min_pixels
        goes[stays] = False
        last = np.zeros(goes.size, np.int64)
        last[runs] = block.starts  # for equal indices, the last one is used
        gone = np.flatnonzero(goes)
        gone = gone[np.argsort(last[gone])]
        place = np.full(goes.size, -1)  # first the finished, then the open components; -1: dropped
        place[gone], place[stays] = np.arange(gone.size), gone.size + np.arange(stays.size)
        corners, run = block.corners(self._row, self._col)
        owner, corners = self._sorted_out(place[runs[run]], corners, place[held], gone.size, stays.size)
        self._above, self._open, self._touching = labels[-1].copy(), tally.of(stays), touching
        geometry = rings.polygons(owner, corners, gone.size) if gone.size else np.zeros(0, np.object_)
        done = tally.of(gone)
        score = (done.grains / (done.pixels * GRAIN)).astype(np.float32)
        return Polygons(geometry, done.class_id, score, done.pixels)

    def _united(self, block: Runs, scores: NDArray[np.float32]) -> "tuple[_Tally, Integers]":
        """Return all components, and the number of the component of each run and of each open component."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        runs, held = block.starts.size, self._open.pixels.size
        one, other = block.contacts()
        one, other = np.append(one, np.arange(block.carried)), np.append(other, runs + self._touching)
        graph = coo_array((np.ones(one.size), (one, other)), shape=(runs + held, runs + held))
        count, number = connected_components(graph, directed=False)
        tally = _Tally.empty(count)
        tally.class_id[number[:runs]] = block.class_id
        for numbers, pixels, grains in (
            (number[block.carried : runs], (block.stops - block.starts)[block.carried :], block.grains(scores)),
            (number[runs:], self._open.pixels, self._open.grains),
        ):
            np.add.at(tally.pixels, numbers, pixels)
            np.add.at(tally.grains, numbers, grains)
        return tally, number

    def _sorted_out(
        self, owner: Integers, corners: Integers, held: Integers, gone: int, stay: int
    ) -> tuple[Integers, Integers]:
        """Return the corners of the ``gone`` finished components and their owners; keep those of open components.

        ``owner`` are the places of the strip's ``corners``, ``held`` those of the components that were open before.
        """
        done = (owner >= 0) & (owner < gone)
        owners, finished = [owner[done]], [corners[done]]
        kept: list[list[Integers]] = [[] for _ in range(stay)]
        for place, pieces in zip(held.tolist(), self._corners, strict=True):
            if place >= gone:
                few, many = sorted((pieces, kept[place - gone]), key=len)
                many.extend(few)
                kept[place - gone] = many
            elif place >= 0:
                owners.extend(np.full(piece.size, place) for piece in pieces)
                finished.extend(pieces)
        owner, corners = owner[owner >= gone] - gone, corners[owner >= gone]
        order = np.argsort(owner, kind="stable")
        places, starts = np.unique(owner[order], return_index=True)
        for place, piece in zip(places.tolist(), np.split(corners[order], starts[1:]), strict=False):
            kept[place].append(piece.copy())  # a view would keep the whole strip's array
        self._corners = kept
        return np.concatenate(owners), np.concatenate(finished)


@dataclass(frozen=True)
class _Tally:
    """Sums over components (n,): their class, pixels, and scores in units of 1 / GRAIN."""

    class_id: NDArray[np.uint8]
    pixels: Integers
    grains: Integers

    @classmethod
    def empty(cls, count: int) -> Self:
        return cls(np.zeros(count, np.uint8), np.zeros(count, np.int64), np.zeros(count, np.int64))

    def of(self, components: Integers) -> "_Tally":
        return _Tally(self.class_id[components], self.pixels[components], self.grains[components])
