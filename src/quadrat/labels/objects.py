"""Objects: features of vector labels as geometries and boxes."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.geo.geometry.parts import Geometries
from quadrat.geo.grids.windows import Window

DIGITS = 3
"""Digits to which boxes, px, are rounded; smaller differences come from CRSs and formats, and would make slivers."""


@dataclass(frozen=True, eq=False)
class Objects:
    """Features in pixel coordinates (x = column, y = row), whole, in the file's order, and their class ids.

    ``class_ids`` (object,) are IGNORE for dropped features.
    """

    geometry: Geometries
    class_ids: NDArray[np.uint8]

    def __post_init__(self) -> None:
        """Index the features."""
        object.__setattr__(self, "_tree", shapely.STRtree(self.geometry))

    def within(self, window: Window) -> "Objects":
        """Return the objects that overlap the window."""
        tree: shapely.STRtree = self._tree  # type: ignore[attr-defined]
        frame = shapely.box(window.col, window.row, window.right, window.bottom)
        hits = np.sort(tree.query(frame))
        hits = hits[shapely.area(shapely.intersection(self.geometry[hits], frame)) > 0]
        return Objects(self.geometry[hits], self.class_ids[hits])


@dataclass(frozen=True, eq=False)
class Envelopes:
    """Upright boxes around features, cut at the grid's edge, in the order of the features.

    ``bounds`` (object, 4) are left, top, right and bottom in pixel coordinates; ``shares`` (object,) of the whole
    box's area lie on the grid. ``class_ids`` (object,) are IGNORE for dropped features.
    """

    bounds: NDArray[np.float64]
    shares: NDArray[np.float64]
    class_ids: NDArray[np.uint8]

    @classmethod
    def around(cls, objects: Objects, grid: Window) -> "Envelopes":
        """Return the boxes of the objects that meet the grid."""
        whole = boxed(objects.geometry)
        within = np.clip(whole, 0, [grid.width, grid.height] * 2)
        there = (within[:, 2:] > within[:, :2]).all(1)
        whole, within = whole[there], within[there]
        shares = np.prod((within[:, 2:] - within[:, :2]) / (whole[:, 2:] - whole[:, :2]), axis=1)
        return cls(within, shares, objects.class_ids[there])

    def meeting(self, window: Window) -> "Envelopes":
        """Return the boxes that overlap the window."""
        hits = np.sort(self._tree.query(shapely.box(window.col, window.row, window.right, window.bottom)))
        left, top, right, bottom = self.bounds[hits].T
        hits = hits[(left < window.right) & (top < window.bottom) & (right > window.col) & (bottom > window.row)]
        return Envelopes(self.bounds[hits], self.shares[hits], self.class_ids[hits])

    @cached_property
    def _tree(self) -> shapely.STRtree:
        left, top, right, bottom = self.bounds.T
        return shapely.STRtree(shapely.box(left, top, right, bottom))


def boxed(geometry: Geometries) -> NDArray[np.float64]:
    """Return left, top, right and bottom (object, 4) of areas, rounded; NaN if one is thinner than the rounding."""
    bounds = np.round(shapely.bounds(geometry).reshape(-1, 4), DIGITS)
    sides = bounds[:, 2:] - bounds[:, :2]
    bounds[(sides <= 0).any(1) | (shapely.area(geometry) < 10**-DIGITS * sides.max(1))] = np.nan
    return bounds


def gathered(parts: Geometries, owners: NDArray[np.intp], count: int) -> Geometries:
    """Return the areas (``count``,) of features from their polygons ``parts``; empty for a feature without polygons.

    ``owners`` are the features' numbers, in rising order.
    """
    whole = np.full(count, shapely.Polygon(), object)
    some = ~shapely.is_empty(parts)
    parts, owners = parts[some], owners[some]
    single = np.bincount(owners, minlength=count)[owners] == 1
    whole[owners[single]] = parts[single]
    if not single.all():
        several, numbers = np.unique(owners[~single], return_inverse=True)
        multi = shapely.multipolygons(parts[~single], indices=numbers)
        broken = ~shapely.is_valid(multi)  # parts of a collection may overlap
        multi[broken] = shapely.union_all(multi[broken][:, None], axis=1)
        whole[several] = multi
    return whole
