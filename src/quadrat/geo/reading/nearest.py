"""Finds the nearest pixels of one grid for the pixels of another."""

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.geo.reading.reader import TOLERANCE

STEPS = (32, 8)
"""Px between places that are transformed; places between are interpolated, if that is exact enough."""

TIE = 1e-6
"""Shift of places to the right and down, px, so that rounding does not decide on pixel edges."""

Numbers = NDArray[np.int64]
Places = NDArray[np.float64]


class Nearest:
    """Finds the pixels of the grid ``own`` at the pixel centres of ``grid``; both have a CRS, or neither."""

    def __init__(self, grid: Grid, own: Grid) -> None:
        """Find the transformation from one CRS to the other; raise ProjError if there is none."""
        self.grid, self.own = grid, own
        same = grid.crs is None or own.crs == grid.crs
        self._there = (
            None
            if same
            else Transformer.from_crs(CRS.from_user_input(grid.crs), CRS.from_user_input(own.crs), always_xy=True)
        )

    def pixels(self, window: Window) -> tuple[Numbers, Numbers]:
        """Return the row and the column (y, x) in ``own`` of each pixel of a window, -1 outside ``own``."""
        height, width = self.own.shape
        with np.errstate(invalid="ignore"):  # places outside the CRS are not finite
            cols, rows = (places + TIE for places in self._places(window))
            inside = (cols >= 0) & (cols < width) & (rows >= 0) & (rows < height)
        return np.where(inside, rows, -1).astype(np.int64), np.where(inside, cols, -1).astype(np.int64)

    def meets(self) -> bool:
        """Return whether the grids overlap; True if that is unknown."""
        height, width = self.grid.shape
        outline = shapely.segmentize(shapely.box(0, 0, width, height), max(height, width) / 16)
        x, y = self._on_own(*shapely.get_coordinates(outline).T)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            return True
        turn = self._turn
        x = np.unwrap(x, period=turn) if turn else x
        if turn and abs(x[-1] - x[0]) > turn / 2:  # around a pole
            return True
        frame = shapely.box(0, 0, self.own.shape[1], self.own.shape[0])
        for turns in (-turn, 0, turn) if turn else (0,):
            moved = shapely.Polygon(np.column_stack(~self.own.transform @ (x + turns, y))).buffer(0)
            if shapely.intersection(moved, frame).area > 0:
                return True
        return False

    def _places(self, window: Window) -> tuple[Places, Places]:
        """Return column and row in ``own`` (y, x) of the pixels' centres, as exactly as TOLERANCE."""
        for step in STEPS:
            across, down = (1 + 2 * math.ceil(n / step / 2) for n in (window.width, window.height))  # odd
            x, y = np.linspace(0, window.width, across), np.linspace(0, window.height, down)
            known = self._exact(*np.meshgrid(window.col + x, window.row + y))
            guessed = [_between(some[::2, ::2], x[::2], y[::2], x, y) for some in known]
            if (np.abs(np.subtract(guessed, known)) <= 4 * TOLERANCE).all():  # of half the step, it is a quarter
                at = _centres(window)
                return _between(known[0], x, y, *at), _between(known[1], x, y, *at)
        x, y = _centres(window)
        return self._exact(*np.meshgrid(window.col + x, window.row + y))

    def _exact(self, cols: Places, rows: Places) -> tuple[Places, Places]:
        """Return column and row in ``own`` of places of ``grid``, of any shape; not finite outside the CRS."""
        x, y = self._on_own(cols, rows)
        if self._turn:
            west = self.own.footprint(self.own.area).bounds[0] - TIE * math.sqrt(abs(self.own.transform.determinant))
            x = west + (x - west) % self._turn
        place: tuple[Any, Any] = ~self.own.transform @ (x, y)
        return place

    def _on_own(self, cols: Any, rows: Any) -> tuple[Any, Any]:
        """Return map coordinates in the CRS of ``own``."""
        place = self.grid.transform @ (cols, rows)
        return place if self._there is None else self._there.transform(*place)

    @cached_property
    def _turn(self) -> float | None:
        """The period of the longitudes of ``own``; None if it has no longitudes."""
        crs = None if self.own.crs is None else CRS.from_user_input(self.own.crs)
        if crs is None or not crs.is_geographic:
            return None
        return math.tau / crs.axis_info[0].unit_conversion_factor


def parts(rows: Numbers, cols: Numbers, most: int) -> Iterator[tuple[tuple[slice, slice], Window]]:
    """Cut rows and columns (y, x), -1 for none, into parts whose pixels lie in windows of ``most`` px."""
    todo = [(slice(0, rows.shape[0]), slice(0, rows.shape[1]))]
    while todo:
        part = todo.pop()
        some = rows[part] >= 0
        if not some.any():
            continue
        (top, bottom), (left, right) = ((n[part][some].min(), n[part][some].max() + 1) for n in (rows, cols))
        window = Window(int(top), int(left), int(bottom - top), int(right - left))
        if window.size <= most or some.size == 1:
            yield part, window
        else:
            todo += _halves(*part)


def _halves(rows: slice, cols: slice) -> list[tuple[slice, slice]]:
    if rows.stop - rows.start > cols.stop - cols.start:
        middle = (rows.start + rows.stop) // 2
        return [(slice(rows.start, middle), cols), (slice(middle, rows.stop), cols)]
    middle = (cols.start + cols.stop) // 2
    return [(rows, slice(cols.start, middle)), (rows, slice(middle, cols.stop))]


def _centres(window: Window) -> tuple[Places, Places]:
    """Return the columns and the rows of the centres of a window's pixels, from its corner on."""
    x, y = (np.arange(count, dtype=np.float64) + 0.5 for count in (window.width, window.height))
    return x, y


def _between(values: Places, x: Places, y: Places, at_x: Places, at_y: Places) -> Any:
    """Return ``values`` (y, x), known at even steps, at other places (at_y, at_x), by bilinear interpolation."""
    return _shares(y, at_y) @ values @ _shares(x, at_x).T


def _shares(known: Places, at: Places) -> Places:
    """Return the interpolation weights (at, known)."""
    shares: Places = np.maximum(0, 1 - np.abs(at[:, None] - known) / (known[1] - known[0]))
    return shares
