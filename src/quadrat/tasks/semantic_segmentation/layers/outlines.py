"""Draws the outlines of polygons: along pixel edges, simplified, or with right angles."""

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.tasks.semantic_segmentation.layers.right_angles import right_angled
from quadrat.tasks.semantic_segmentation.section import LEAST_TOLERANCE, Outline, RightAngled, Simplified

LEAST_IOU = 0.8
"""Smallest IoU of an outline with the polygon along pixel edges; below it, the outline is drawn in another way."""

MOST_CORNERS = 2**16
"""A polygon with more corners stays along pixel edges, because the time to simplify grows with their square."""

AT_ONCE = 2**18
"""Corners of polygons that are drawn with right angles at once; more take more memory and are not faster."""


def draw(outline: Outline, edges: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return polygons along pixel edges (n,), drawn by ``outline``."""
    if isinstance(outline, RightAngled):
        return _right_angled(edges, outline.tolerance)
    return _simplified(edges, outline.tolerance) if isinstance(outline, Simplified) else edges


def _simplified(edges: NDArray[np.object_], tolerance: float) -> NDArray[np.object_]:
    """Return polygons along pixel edges (n,) with fewer corners (Douglas and Peucker 1973).

    A polygon that would change too much (``LEAST_IOU``) is simplified with half the tolerance, then half of that. One
    with too many corners (``MOST_CORNERS``) is unchanged.
    """
    drawn, left = edges.copy(), np.flatnonzero(_drawable(edges))
    while left.size and tolerance >= LEAST_TOLERANCE:
        simple = shapely.simplify(edges[left], tolerance)
        good = _alike(simple, edges[left])
        drawn[left[good]] = simple[good]
        left, tolerance = left[~good], tolerance / 2
    return drawn


def _right_angled(edges: NDArray[np.object_], tolerance: float) -> NDArray[np.object_]:
    """Return polygons along pixel edges (n,) with right angles; simplified if right angles do not fit."""
    drawn, tried = np.full(len(edges), None, np.object_), np.flatnonzero(_drawable(edges))
    size = np.cumsum(shapely.get_num_coordinates(edges[tried]))
    for part in np.split(tried, np.searchsorted(size, np.arange(AT_ONCE, size.max(initial=0), AT_ONCE))):
        if part.size:
            drawn[part] = right_angled(edges[part], tolerance)
    fits = _alike(drawn, edges)
    fits[fits] = shapely.hausdorff_distance(drawn[fits], edges[fits]) <= tolerance
    drawn[~fits] = _simplified(edges[~fits], tolerance)
    return drawn


def filled(edges: NDArray[np.object_], largest: int) -> NDArray[np.object_]:
    """Return polygons along pixel edges (n,) without their holes of up to ``largest`` px."""
    holed = np.flatnonzero(shapely.get_num_interior_rings(edges)) if largest else np.zeros(0, np.int64)
    if not holed.size:
        return edges
    _, path, (bounds, shells) = shapely.to_ragged_array(edges[holed])
    counts, owner = np.diff(bounds), np.repeat(np.arange(holed.size), np.diff(shells))
    x, y = (path - np.repeat(path[bounds[:-1]], counts, axis=0)).T  # rings begin and end at 0, so they are not mixed
    stays = np.abs(np.add.reduceat(x[:-1] * y[1:] - x[1:] * y[:-1], bounds[:-1])) > 2 * largest
    stays[shells[:-1]] = True
    bounds, shells = np.append(0, np.cumsum(counts[stays])), np.append(0, np.cumsum(np.bincount(owner[stays])))
    drawn = edges.copy()
    drawn[holed] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, path[np.repeat(stays, counts)], (bounds, shells)
    )
    return drawn


def _drawable(edges: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Return which polygons (n,) are small enough to be simplified."""
    return np.asarray(shapely.get_num_coordinates(edges) <= MOST_CORNERS)


def _alike(drawn: NDArray[np.object_], edges: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Return which (n,) are valid polygons that cover about the same area."""
    alike = np.asarray(shapely.get_type_id(drawn) == shapely.GeometryType.POLYGON) & shapely.is_valid(drawn)
    one, other = drawn[alike], edges[alike]
    shared = shapely.area(shapely.intersection(one, other))
    alike[alike] = shared >= LEAST_IOU * (shapely.area(one) + shapely.area(other) - shared)
    return alike
