"""Draws outlines with right angles only, for buildings.

A polygon along pixel edges is cut into walls at the corners of its simplified outline. Each wall has one of two
perpendicular directions. These directions, and a line for each wall, are fitted to all pixel edges by least squares, so
a slanting wall runs through the middle of its steps. Very short walls are noise and are left out; the corners are the
intersections of the walls.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.tasks.semantic_segmentation.layers import rings

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Offsets = NDArray[np.integer[Any]]

STEP = 1.0
"""Smallest tolerance of the simplification, px; below it, steps of slanting walls would be corners."""


def right_angled(edges: NDArray[np.object_], tolerance: float) -> NDArray[np.object_]:
    """Return ``edges`` (n,), polygons along pixel edges, with right angles only; None if no polygon results.

    Walls shorter than ``tolerance`` px are left out. The result may be invalid, or very different from the input. Each
    polygon's result does not depend on the others.
    """
    walls = _Walls.between_corners(edges, max(STEP, tolerance / 2))
    while (short := walls.shortest(tolerance)).any():
        walls = walls.without(short)
    return walls.parted_anew().polygons()


@dataclass(frozen=True)
class _Cycle:
    """Items (n,) in order around rings; ``ring`` of each, in rising order."""

    ring: Integers

    @cached_property
    def following(self) -> Integers:
        """The next item of each."""
        lasts = np.flatnonzero(np.append(self.ring[1:] != self.ring[:-1], self.ring.size > 0))
        following = np.arange(1, self.ring.size + 1)
        following[lasts] = np.append(0, lasts[:-1] + 1)[: lasts.size]
        return following

    @cached_property
    def preceding(self) -> Integers:
        """The item before each."""
        preceding = np.empty_like(self.following)
        preceding[self.following] = np.arange(self.ring.size)
        return preceding

    def groups(self, starts: NDArray[np.bool_]) -> Integers:
        """Return the group of each item, numbered in order; ``starts`` begin groups; -1 in a ring without a start."""
        group = np.cumsum(starts) - 1
        counts = np.bincount(self.ring[starts], minlength=self.ring.max(initial=-1) + 1)
        lasts = (np.cumsum(counts) - 1)[self.ring]
        counts = counts[self.ring]
        # items before the ring's first start belong to its last group
        group = np.where(group <= lasts - counts, lasts, group)
        return np.where(counts > 0, group, -1)


@dataclass(frozen=True)
class _Steps:
    """Pixel edges (m,), from ``start`` to ``stop`` (m, 2), that go around polygons."""

    start: Floats
    stop: Floats
    polygon: Integers

    @cached_property
    def length(self) -> Floats:
        """(m,) px; each lies along a row or a column."""
        length: Floats = np.abs(self.stop - self.start).sum(1)
        return length

    @cached_property
    def middle(self) -> Floats:
        """(m, 2), the point between."""
        return (self.start + self.stop) / 2


@dataclass(frozen=True)
class _Walls:
    """Walls (n,), each a set of pixel edges, from which its position is computed.

    Each polygon has its own frame, rotated by its angle about its origin.
    """

    origin: Floats
    """(polygon, 2)"""
    owner: Integers
    """(ring,) the polygon of each ring, the shell first."""
    steps: _Steps
    """In coordinates relative to their polygon's origin."""
    wall: Integers
    """(step,) the wall of each pixel edge."""
    ring: Integers
    """(n,) the ring of each wall; walls are in order."""
    upright: NDArray[np.bool_]
    """(n,) whether a wall runs along the frame's second axis; they alternate."""

    @classmethod
    def between_corners(cls, edges: NDArray[np.object_], tolerance: float) -> Self:
        """Split pixel edges at corners that remain after simplifying with ``tolerance``, if the direction changes."""
        _, path, (bounds, shells) = shapely.to_ragged_array(edges)
        owner = np.repeat(np.arange(len(edges)), np.diff(shells))
        closing = np.zeros(len(path), np.bool_)
        closing[bounds[1:] - 1] = True
        corner = _corners(path, bounds, shells, tolerance)[~closing]
        ring = np.repeat(np.arange(owner.size), np.diff(bounds) - 1)
        corner |= (np.bincount(ring[corner], minlength=owner.size) < 4)[ring]  # too small to simplify
        origin = path[bounds[shells[:-1]]]
        start = path[~closing] - origin[owner[ring]]
        around, chords = _Cycle(ring), _Cycle(ring[corner])
        upright = _upright(start[corner][chords.following] - start[corner], owner[chords.ring])
        opens = upright != upright[chords.preceding]
        wall = np.append(chords.groups(opens), -1)[around.groups(corner)]
        known = wall >= 0
        steps = _Steps(start[known], start[around.following][known], owner[ring[known]])
        return cls(origin, owner, steps, wall[known], chords.ring[opens], upright[opens])

    @cached_property
    def around(self) -> _Cycle:
        """The order of the walls."""
        return _Cycle(self.ring)

    @cached_property
    def counts(self) -> Integers:
        """(ring,) the number of walls."""
        return np.bincount(self.ring, minlength=self.owner.size)

    @cached_property
    def lines(self) -> tuple[Floats, Floats]:
        """The angle of each polygon's frame, and where each wall crosses an axis of it: the best fit (Pearson 1901)."""
        steps, number, count = self.steps, self.wall, self.ring.size
        length = _sums(number, steps.length, count)
        x, y = (_sums(number, steps.length * steps.middle[:, axis], count) / length for axis in (0, 1))
        # relative to the middle of each wall, to avoid cancellation
        off = steps.middle - np.stack([x, y], axis=1)[number]
        along = steps.stop - steps.start
        scatter = [
            _sums(number, steps.length * (off[:, one] * off[:, other] + along[:, one] * along[:, other] / 12), count)
            for one, other in ((0, 0), (1, 1), (0, 1))
        ]
        polygon, turned = self.owner[self.ring], np.where(self.upright, -1, 1)
        spread = _sums(polygon, turned * (scatter[0] - scatter[1]), len(self.origin))
        angle = np.arctan2(2 * _sums(polygon, turned * scatter[2], len(self.origin)), spread) / 2
        cosine, sine = np.cos(angle)[polygon], np.sin(angle)[polygon]
        return angle, np.where(self.upright, x * cosine + y * sine, y * cosine - x * sine)

    def shortest(self, tolerance: float) -> NDArray[np.bool_]:
        """Return which walls (n,) are below ``tolerance`` and shorter than their three neighbours on either side.

        Any two of them have at least three walls between, so all can be removed at once, and each ring keeps four.
        """
        before, after = self.around.preceding, self.around.following
        _, offset = self.lines
        length = np.abs(offset[after] - offset[before])
        length[self.counts[self.ring] <= 4] = np.inf  # a rectangle needs all its walls
        found, number = length < tolerance, np.arange(length.size)
        for _ in range(3):
            for other in (before, after):
                found &= (length < length[other]) | ((length == length[other]) & (number < other))
            before, after = self.around.preceding[before], self.around.following[after]
        return found

    def without(self, left_out: NDArray[np.bool_]) -> Self:
        """Remove walls, and merge each with its two neighbours."""
        into = np.arange(self.ring.size)
        into[left_out] = into[self.around.following[left_out]] = self.around.preceding[left_out]
        stays = into == np.arange(into.size)
        wall = (np.cumsum(stays) - 1)[into[self.wall]]
        return replace(self, wall=wall, ring=self.ring[stays], upright=self.upright[stays])

    def parted_anew(self) -> Self:
        """Assign each pixel edge to the nearest of its wall and the two neighbours."""
        angle, offset = self.lines
        cosine, sine = np.cos(angle)[self.steps.polygon], np.sin(angle)[self.steps.polygon]
        x, y = self.steps.middle.T
        along, across = x * cosine + y * sine, y * cosine - x * sine
        own, other = np.where(self.upright[self.wall], (along, across), (across, along))
        walls = np.stack([self.wall, self.around.preceding[self.wall], self.around.following[self.wall]])
        nearest = np.abs(np.stack([own, other, other]) - offset[walls]).argmin(0)
        wall = np.take_along_axis(walls, nearest[None], 0)[0]
        empty = np.bincount(wall, minlength=self.ring.size) == 0
        return replace(self, wall=np.where(empty[self.wall], self.wall, wall))

    def polygons(self) -> NDArray[np.object_]:
        """Return the polygons; None if a ring has fewer than four walls."""
        whole = np.ones(len(self.origin), np.bool_)
        whole[self.owner[self.counts < 4]] = False
        found = np.full(whole.size, None, np.object_)
        if not whole.any():
            return found
        angle, offset = self.lines
        polygon, other = self.owner[self.ring], offset[self.around.following]
        along, across = np.where(self.upright, (offset, other), (other, offset))
        cosine, sine = np.cos(angle)[polygon], np.sin(angle)[polygon]
        corner = np.stack([along * cosine - across * sine, along * sine + across * cosine], axis=1)
        bounds = np.append(0, np.cumsum(self.counts[whole[self.owner]] + 1))
        shells = np.append(0, np.cumsum(np.bincount(self.owner)[whole]))
        found[whole] = rings.assembled((corner + self.origin[polygon])[whole[polygon]], bounds, shells)
        return found


def _corners(path: Floats, bounds: Offsets, shells: Offsets, tolerance: float) -> NDArray[np.bool_]:
    """Return which points (n,) of ``path`` remain when polygons are simplified; z coordinates carry their numbers."""
    numbered = np.column_stack([path, np.arange(len(path))])
    polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, numbered, (bounds, shells))
    left = shapely.get_coordinates(shapely.simplify(polygons, tolerance), include_z=True)[:, 2].astype(np.int64)
    corner = np.zeros(len(path), np.bool_)
    corner[left] = True
    corner[bounds[:-1]] |= corner[bounds[1:] - 1]  # the last point of a ring is its first
    return corner


def _upright(chord: Floats, polygon: Integers) -> NDArray[np.bool_]:
    """Return which chords (n, 2) are perpendicular to the main direction of their ``polygon`` (n,).

    It is the mean of the chords' directions, taken modulo 90° and weighted by squared length.
    """
    angle, weight = np.arctan2(chord[:, 1], chord[:, 0]), (chord**2).sum(1)
    count = int(polygon.max()) + 1
    sine, cosine = (_sums(polygon, weight * turn(4 * angle), count) for turn in (np.sin, np.cos))
    angle -= (np.arctan2(sine, cosine) / 4)[polygon]
    return np.abs(np.sin(angle)) > np.abs(np.cos(angle))


def _sums(group: Integers, values: Floats, count: int) -> Floats:
    """Return sums (``count``,) of ``values`` (n,) by ``group`` (n,), in order, so bit-identical."""
    return np.bincount(group, values, count).astype(np.float64, copy=False)
