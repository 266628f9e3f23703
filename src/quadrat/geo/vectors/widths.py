"""Widths of lines and points, in px or in metres on the ground, and the resulting areas."""

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from pydantic import Field

from quadrat.geo.geometry.parts import Geometries
from quadrat.geo.grids.grid import Grid
from quadrat.runtime.formats.section import Name, Section

ARC = 16
"""Segments per quarter circle; the area is exact to 0.2 %."""

Positive = Annotated[float, Field(gt=0)]


class Width(Section):
    """The width of lines, with round ends, and the diameter of points."""

    unit: Literal["m", "px"]
    """Metres on the ground, or px of the scene's grid."""
    default: Positive | None = None
    """The width of all classes that ``classes`` does not name; left out: they have none."""
    classes: Mapping[Name, Positive] = {}
    """Widths by the names of classes."""


def widened(geometry: Geometries, widths: NDArray[np.float64], unit: Literal["m", "px"], grid: Grid) -> Geometries:
    """Return the areas within half a width of lines and points, in pixel coordinates; empty if they are off the grid.

    Metres need a grid with a CRS and are measured at each feature's own place.
    """
    centres = _places(geometry, grid)
    metres = np.broadcast_to(np.eye(2), (len(geometry), 2, 2)) if unit == "px" else _metres(grid, centres)
    reach = widths / 2 / np.linalg.svd(metres, compute_uv=False)[:, -1]  # px; the longer of both axes
    left, top, right, bottom = shapely.bounds(geometry).T
    height, width = grid.shape
    near = (right + reach >= 0) & (bottom + reach >= 0) & (left - reach <= width) & (top - reach <= height)
    areas = np.full(len(geometry), shapely.Polygon(), object)
    there = _mapped(geometry[near], centres[near], metres[near], np.zeros_like(centres[near]))
    grown = shapely.buffer(there, widths[near] / 2, quad_segs=ARC)
    areas[near] = _mapped(grown, np.zeros_like(centres[near]), np.linalg.inv(metres[near]), centres[near])
    return areas


def _places(geometry: Geometries, grid: Grid) -> NDArray[np.float64]:
    """Return a point (column, row) of the grid for each feature: the point nearest to its middle."""
    left, top, right, bottom = shapely.bounds(geometry).T
    middle = np.column_stack([(left + right) / 2, (top + bottom) / 2])
    places: NDArray[np.float64] = np.clip(middle, 0, [grid.shape[1], grid.shape[0]])
    return places


def _mapped(
    geometry: Geometries, origin: NDArray[np.float64], matrix: NDArray[np.float64], to: NDArray[np.float64]
) -> Geometries:
    """Return each geometry moved by its own matrix: (points - origin) @ matrixᵀ + to."""
    points, owners = shapely.get_coordinates(geometry, return_index=True)
    moved = np.einsum("nij,nj->ni", matrix[owners], points - origin[owners]) + to[owners]
    return np.asarray(shapely.set_coordinates(geometry.copy(), moved), object)


def _metres(grid: Grid, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``grid.metres`` (place, 2, 2); those of the CRS's plane for places that are not on Earth."""
    metres = grid.metres(places)
    return np.where(np.isfinite(metres).all((1, 2), keepdims=True), metres, grid.plane)


def class_widths(width: Width, names: tuple[str, ...], ids: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the width of each of ``ids``, NaN if it has none; an id that is no class has the default one."""
    default = np.nan if width.default is None else width.default
    by_id = np.full(256, default)
    by_id[: len(names)] = [width.classes.get(name, default) for name in names]
    found: NDArray[np.float64] = by_id[ids]
    return found
