"""Outlines whose angles are all right: buildings, as they are built.

A polygon along pixel edges is cut into walls, at the corners that its simplified outline has. Each wall runs along one
of two directions at right angles, and these two, with a line for each wall, are fitted to all pixel edges at once, by
least squares: what a slanting wall's steps are about is nearer to the building's than the steps are. Walls that are
too short to be more than noise are left out, and the corners are where walls meet.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.polygons import rings

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

STEP = 1.0
"""How far the steps of a slanting wall lie from a straight line, at most, px: corners are not sought below it."""


def right_angled(edges: NDArray[np.object_], tolerance: float) -> NDArray[np.object_]:
    """Return ``edges`` (n,), polygons along pixel edges, with right angles alone; None where that makes no polygon.

    Walls shorter than ``tolerance`` px are left out. What comes out may be invalid, or far from what went in. It is
    the same whatever other polygons there are.
    """
    walls = _Walls.fitted(edges, max(STEP, tolerance / 2))
    while (short := walls.shortest(tolerance)).any():
        walls = walls.without(short)
    return walls.polygons()


@dataclass(frozen=True)
class _Cycle:
    """Items (n,) that follow each other around rings: ``ring`` of each, in rising order."""

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
        """Return the group of each item, numbered in order, where ``starts`` begin one; -1 in a ring that has none."""
        group = np.cumsum(starts) - 1
        counts = np.bincount(self.ring[starts], minlength=self.ring.max(initial=-1) + 1)
        lasts = (np.cumsum(counts) - 1)[self.ring]
        counts = counts[self.ring]
        group = np.where(group <= lasts - counts, lasts, group)  # before the ring's first start: its last group
        return np.where(counts > 0, group, -1)


@dataclass(frozen=True)
class _Walls:
    """The walls (n,) of polygons, in a frame of each polygon: turned by its angle about its origin."""

    origin: Floats
    """(polygon, 2)"""
    angle: Floats
    """(polygon,) of the frame's first axis."""
    owner: Integers
    """(ring,) the polygon of each ring, the shell first."""
    ring: Integers
    """(n,) of each wall; walls follow each other."""
    upright: NDArray[np.bool_]
    """(n,) whether a wall runs along the frame's second axis; every other one does."""
    offset: Floats
    """(n,) where it crosses the other axis, px."""
    weight: Floats
    """(n,) length of the pixel edges that it was fitted to."""

    @classmethod
    def fitted(cls, edges: NDArray[np.object_], tolerance: float) -> Self:
        """Fit walls to the pixel edges between the corners that simplifying with ``tolerance`` leaves."""
        _, path, (bounds, shells) = shapely.to_ragged_array(edges)
        owner = np.repeat(np.arange(len(edges)), np.diff(shells))
        closing = np.zeros(len(path), np.bool_)
        closing[bounds[1:] - 1] = True
        corner = _corners(path, bounds, shells, tolerance)[~closing]
        ring = np.repeat(np.arange(owner.size), np.diff(bounds) - 1)
        corner |= (np.bincount(ring[corner], minlength=owner.size) < 4)[ring]  # too small to be simplified
        origin = path[bounds[shells[:-1]]]
        point = path[~closing] - origin[owner[ring]]
        around, chords = _Cycle(ring), _Cycle(ring[corner])
        side = point[corner][chords.following] - point[corner]
        polygon = owner[chords.ring]
        angle, length = np.arctan2(side[:, 1], side[:, 0]), (side**2).sum(1)
        sine, cosine = (_sums(polygon, length * turn(4 * angle), len(edges)) for turn in (np.sin, np.cos))
        turned = angle - (np.arctan2(sine, cosine) / 4)[polygon]
        upright = np.abs(np.sin(turned)) > np.abs(np.cos(turned))
        starts = upright != upright[chords.preceding]
        wall = np.append(chords.groups(starts), -1)[around.groups(corner)]
        moments = _Moments.of(point, point[around.following], wall, np.count_nonzero(starts))
        ring = chords.ring[starts]
        angle = moments.direction(owner[ring], upright[starts], len(edges))
        offset = moments.offset(angle[owner[ring]], upright[starts])
        return cls(origin, angle, owner, ring, upright[starts], offset, moments.length)

    @cached_property
    def around(self) -> _Cycle:
        """The walls' order."""
        return _Cycle(self.ring)

    @cached_property
    def counts(self) -> Integers:
        """(ring,) the number of walls."""
        return np.bincount(self.ring, minlength=self.owner.size)

    def shortest(self, tolerance: float) -> NDArray[np.bool_]:
        """Return which walls (n,) are below ``tolerance`` and shorter than their three neighbours on either side.

        Between two of them there are three walls at least, so they can be left out at once, and each ring keeps four.
        """
        before, after = self.around.preceding, self.around.following
        length = np.abs(self.offset[after] - self.offset[before])
        length[self.counts[self.ring] <= 4] = np.inf  # nothing can be left out of a rectangle
        found, number = length < tolerance, np.arange(length.size)
        for _ in range(3):
            for other in (before, after):
                found &= (length < length[other]) | ((length == length[other]) & (number < other))
            before, after = self.around.preceding[before], self.around.following[after]
        return found

    def without(self, left_out: NDArray[np.bool_]) -> Self:
        """Leave out walls, and make one of the two beside each."""
        before, after = self.around.preceding[left_out], self.around.following[left_out]
        weight, offset = self.weight.copy(), self.offset.copy()
        weight[before] += weight[after]
        offset[before] += (self.offset[after] - self.offset[before]) * self.weight[after] / weight[before]
        stays = ~left_out
        stays[after] = False
        return replace(
            self, ring=self.ring[stays], upright=self.upright[stays], offset=offset[stays], weight=weight[stays]
        )

    def polygons(self) -> NDArray[np.object_]:
        """Return the polygons; None where one of the rings has no four walls."""
        whole = np.ones(len(self.angle), np.bool_)
        whole[self.owner[self.counts < 4]] = False
        found = np.full(whole.size, None, np.object_)
        if not whole.any():
            return found
        shown, kept = whole[self.owner[self.ring]], whole[self.owner]
        other = self.offset[self.around.following]
        along, across = np.where(self.upright, (self.offset, other), (other, self.offset))
        polygon = self.owner[self.ring]
        cosine, sine = np.cos(self.angle)[polygon], np.sin(self.angle)[polygon]
        point = np.stack([along * cosine - across * sine, along * sine + across * cosine], axis=1)
        bounds = np.append(0, np.cumsum(self.counts[kept] + 1))
        shells = np.append(0, np.cumsum(np.bincount(self.owner, minlength=whole.size)[whole]))
        found[whole] = rings.assembled((point + self.origin[polygon])[shown], bounds, shells)
        return found


@dataclass(frozen=True)
class _Moments:
    """Of the pixel edges of walls (n,): their length, their middle, and how they scatter about it."""

    length: Floats
    middle: Floats
    """(n, 2)"""
    scatter: Floats
    """(n, 3): sums of squares along x, along y, and of products."""

    @classmethod
    def of(cls, start: Floats, stop: Floats, wall: Integers, count: int) -> Self:
        """Add up edges from ``start`` to ``stop`` (m, 2) by their ``wall`` (m,), -1 for none."""
        step, centre = stop - start, (start + stop) / 2
        length = np.abs(step).sum(1)  # along an axis of the grid
        total = _sums(wall, length, count)
        middle = np.stack([_sums(wall, length * centre[:, axis], count) / total for axis in (0, 1)], axis=1)
        # about the middle of the wall: no large numbers are subtracted
        centre = centre - np.append(middle, np.zeros((1, 2)), axis=0)[wall]
        products = [
            length * (centre[:, one] * centre[:, other] + step[:, one] * step[:, other] / 12)
            for one, other in ((0, 0), (1, 1), (0, 1))
        ]
        return cls(total, middle, np.stack([_sums(wall, product, count) for product in products], axis=1))

    def direction(self, polygon: Integers, upright: NDArray[np.bool_], count: int) -> Floats:
        """Return the angles (``count``,) of the lines that fit best, upright walls turned back (Pearson 1901)."""
        along, across, both = np.where(upright, self.scatter.T[[1, 0, 2]] * [[1], [1], [-1]], self.scatter.T)
        return np.arctan2(2 * _sums(polygon, both, count), _sums(polygon, along - across, count)) / 2

    def offset(self, angle: Floats, upright: NDArray[np.bool_]) -> Floats:
        """Return where walls at ``angle`` (n,), or at right angles to it, lie."""
        x, y = self.middle.T
        return np.where(upright, x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle))


def _corners(path: Floats, bounds: Integers, shells: Integers, tolerance: float) -> NDArray[np.bool_]:
    """Return which points (n,) of ``path`` are left when polygons are simplified; their heights carry their numbers."""
    numbered = np.column_stack([path, np.arange(len(path))])
    polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, numbered, (bounds, shells))
    left = shapely.get_coordinates(shapely.simplify(polygons, tolerance), include_z=True)[:, 2].astype(np.int64)
    corner = np.zeros(len(path), np.bool_)
    corner[left] = True
    corner[bounds[:-1]] |= corner[bounds[1:] - 1]  # the last point of a ring is its first
    return corner


def _sums(group: Integers, values: Floats, count: int) -> Floats:
    """Return sums (``count``,) of ``values`` (n,) by ``group`` (n,), without group -1: in order, so to the last bit."""
    return np.bincount(group + 1, values, count + 1)[1:]
