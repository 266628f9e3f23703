"""Cells: squares of a grid that are classified as a whole.

Cells are rows of whole px (left, top, right, bottom) in the grid's own pixels. They may overlap, and reach over the
grid's edge.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.geo.grids.windows import Window

Cells = NDArray[np.int64]
"""(cell, 4): left, top, right, bottom."""

Geometries = NDArray[np.object_]
"""Of shapely, in pixel coordinates: x = column, y = row, corners."""

ROUNDING = 1e-6
"""Relative and absolute (px²) rounding of areas."""

BAND = 512
"""Rows of the grid whose cells are processed together."""


def margin(window: int, cell: int) -> int:
    """Return the px above and left of a cell of ``cell`` px in the middle of a window of ``window`` px."""
    return -((cell - window) // 2)


def middle(window: Window, size: int) -> Window:
    """Return the square of ``size`` px in the middle of a square window; a half px rounds to the lower right."""
    inset = margin(window.height, size)
    return Window(window.row + inset, window.col + inset, size, size)


def as_cells(windows: list[Window]) -> Cells:
    """Return windows as cells."""
    return np.array([(w.col, w.row, w.right, w.bottom) for w in windows], np.int64).reshape(-1, 4)


def lattice(window: Window, size: int) -> Cells:
    """Return the cells, at multiples of ``size`` px of the grid, that meet the window."""
    top, left = window.row // size * size, window.col // size * size
    rows, cols = np.meshgrid(np.arange(top, window.bottom, size), np.arange(left, window.right, size), indexing="ij")
    corner = np.column_stack([cols.ravel(), rows.ravel()]).astype(np.int64)
    return np.concatenate([corner, corner + size], 1)


def boxes(cells: Cells) -> Geometries:
    """Return the cells (cell,) as polygons."""
    drawn: Geometries = shapely.box(*cells.T)  # type: ignore[assignment]  # of arrays it is an array
    return drawn


def frame(cells: Cells) -> Window:
    """Return the smallest window that holds all of the cells."""
    left, top = cells[:, :2].min(0).tolist()
    right, bottom = cells[:, 2:].max(0).tolist()
    return Window(top, left, bottom - top, right - left)


def bands(cells: Cells) -> Iterator[NDArray[np.intp]]:
    """Yield the numbers of the cells that begin in the same BAND rows, from top to bottom."""
    number = cells[:, 1] // BAND
    order = np.argsort(number, kind="stable")
    starts = np.flatnonzero(np.diff(number[order])) + 1
    yield from np.split(order, starts) if len(cells) else ()


def clipped(cells: Cells, window: Window) -> Cells:
    """Return the cells, cut to the window; without an area if they are outside."""
    return np.clip(cells, [window.col, window.row] * 2, [window.right, window.bottom] * 2)


def centred(cells: Cells, mask: NDArray[np.bool_], origin: Window) -> NDArray[np.bool_]:
    """Return which cells have an area and their centre on a True pixel of ``mask`` (y, x), which covers ``origin``."""
    cols, rows = (cells[:, :2] + cells[:, 2:]).T // 2 - np.array([[origin.col], [origin.row]])
    solid = (cells[:, 2:] > cells[:, :2]).all(1)
    found: NDArray[np.bool_] = np.logical_and.reduce(
        [solid, rows >= 0, cols >= 0, rows < origin.height, cols < origin.width]
    )
    found[found] = mask[rows[found], cols[found]]
    return found


@dataclass(frozen=True, eq=False)
class Pieces:
    """Intersections of cells and objects: a piece for each pair that overlaps."""

    cells: Cells
    cell: NDArray[np.intp]
    """(piece,) number of the cell."""
    owner: NDArray[np.intp]
    """(piece,) number of the object."""
    geometry: Geometries
    area: NDArray[np.float64]
    """(piece,) px²."""

    @classmethod
    def of(cls, cells: Cells, objects: Geometries) -> "Pieces":
        """Cut valid polygons and multipolygons by cells."""
        squares = boxes(cells)
        tree = shapely.STRtree(squares)
        owner, cell = tree.query(objects, predicate="intersects")
        pairs = np.ravel_multi_index((owner, cell), (len(objects), len(cells)))
        inner = np.ravel_multi_index(tuple(tree.query(objects, predicate="covers")), (len(objects), len(cells)))
        cut = ~np.isin(pairs, inner)
        edge = frame(cells)
        near = shapely.intersection(objects, shapely.box(edge.col, edge.row, edge.right, edge.bottom))
        geometry = squares[cell]
        geometry[cut] = shapely.intersection(near[owner[cut]], geometry[cut])
        area = shapely.area(geometry)
        shared = area > 0
        return cls(cells, cell[shared], owner[shared], geometry[shared], area[shared])

    def some(self, selected: NDArray[np.bool_]) -> "Pieces":
        """Return the pieces of ``selected`` (piece,)."""
        return Pieces(
            self.cells, self.cell[selected], self.owner[selected], self.geometry[selected], self.area[selected]
        )

    def covered(self, group: NDArray[np.intp], groups: int) -> NDArray[np.float64]:
        """Return the area (cell, ``groups``), px², of the union of each group's pieces (piece,)."""
        place = self.cell * groups + group
        count = len(self.cells) * groups
        covered = np.bincount(place, self.area, count).astype(np.float64, copy=False)
        whole = np.repeat(sizes(self.cells), groups)
        filled = np.bincount(place, self.area >= whole[place] * (1 - ROUNDING), count) > 0
        covered[filled] = whole[filled]
        several = (np.bincount(place, minlength=count)[place] > 1) & ~filled[place]
        if several.any():  # pieces may overlap: what they cover is their union
            order = np.flatnonzero(several)[np.argsort(place[several], kind="stable")]
            places, number = np.unique(place[order], return_inverse=True)
            heaps: Geometries = shapely.geometrycollections(self.geometry[order], indices=number)  # type: ignore[assignment]  # as above
            covered[places] = shapely.area(shapely.union_all(heaps[:, None], axis=1))
        return covered.reshape(len(self.cells), groups)


def sizes(cells: Cells) -> NDArray[np.int64]:
    """Return the number of px of each cell."""
    found: NDArray[np.int64] = (cells[:, 2:] - cells[:, :2]).prod(1)
    return found


def pixel_counts(cells: Cells, class_ids: NDArray[np.uint8], origin: Window, classes: int) -> NDArray[np.int64]:
    """Return the number of pixels (cell, class) of ``class_ids`` (y, x), of ``origin``, in each cell."""
    counts = np.zeros((len(cells), classes), np.int64)
    local = cells - np.array([origin.col, origin.row] * 2)
    for row, (left, top, right, bottom) in zip(counts, local.tolist(), strict=True):
        row[:] = np.bincount(class_ids[top:bottom, left:right].ravel(), minlength=classes)[:classes]
    return counts


def painted(cells: Cells, class_ids: NDArray[np.uint8], window: Window, fill: int) -> NDArray[np.uint8]:
    """Return ``class_ids`` (cell,) as pixels (y, x) of a window, ``fill`` where no cell is; later cells lie above."""
    canvas = np.full(window.shape, fill, np.uint8)
    local = np.maximum(cells - np.array([window.col, window.row] * 2), 0)
    for (left, top, right, bottom), class_id in zip(local.tolist(), class_ids.tolist(), strict=True):
        canvas[top:bottom, left:right] = class_id
    return canvas
