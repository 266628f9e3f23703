"""Windows on a grid of pixels, and plans of windows that cover a scene."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

STRIP_ROWS = 256
"""Rows of a scene that are read at once for scoring or drawing."""


@dataclass(frozen=True, order=True, slots=True)
class Window:
    """A rectangle of a grid, in px: sorts by row, then column; it may reach beyond the grid.

    ``row`` and ``col`` are the upper left pixel's (negative above and left of the grid).
    """

    row: int
    col: int
    height: int
    width: int

    def __post_init__(self) -> None:
        """Raise ValueError for a window without pixels."""
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a window needs at least one pixel: {self}")

    @property
    def bottom(self) -> int:
        """The first row below the window."""
        return self.row + self.height

    @property
    def right(self) -> int:
        """The first column right of the window."""
        return self.col + self.width

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in px, as of an array of its pixels."""
        return self.height, self.width

    @property
    def size(self) -> int:
        """Its number of px."""
        return self.height * self.width

    def intersection(self, other: "Window") -> "Window | None":
        """Return the intersection of two windows, or None."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height, width = min(self.bottom, other.bottom) - row, min(self.right, other.right) - col
        return Window(row, col, height, width) if height > 0 and width > 0 else None

    def slices(self, origin: "Window | None" = None) -> tuple[slice, slice]:
        """Return the (y, x) slices of this window in an array of ``origin``'s pixels, or of the grid's."""
        row, col = (origin.row, origin.col) if origin else (0, 0)
        return slice(self.row - row, self.bottom - row), slice(self.col - col, self.right - col)


def whole(shape: tuple[int, int]) -> Window:
    """Return the window of a whole grid of ``shape`` (height, width) px."""
    return Window(0, 0, *shape)


def strips(area: Window, height: int) -> Iterator[Window]:
    """Cut ``area`` into full-width windows of ``height`` rows, aligned to multiples of ``height`` of the grid."""
    row = area.row
    while row < area.bottom:
        bottom = min((row // height + 1) * height, area.bottom)
        yield Window(row, area.col, bottom - row, area.width)
        row = bottom


def tiles(area: Window, height: int, width: int) -> Iterator[Window]:
    """Cut ``area`` into windows of ``height`` × ``width`` px, aligned to their multiples on the grid, in row order."""
    for strip in strips(area, height):
        col = strip.col
        while col < strip.right:
            right = min((col // width + 1) * width, strip.right)
            yield Window(strip.row, col, strip.height, right - col)
            col = right


def cover(area: Window, size: int, stride: int, padding: int = 0) -> list[Window]:
    """Cover every pixel of ``area`` with windows of ``size`` px, ``stride`` px apart, in row order.

    The first window starts ``padding`` px above and left of the area. The plan ends with the first window
    that reaches ``padding`` px over the lower (right) edge or more: the reader
    fills pixels beyond the scene (see ``tiling.cut``).
    """
    if not 0 < stride <= size:
        raise ValueError(f"stride must be from 1 to the size {size}, or pixels are left out: {stride}")
    rows = _starts(area.row - padding, area.bottom + padding, size, stride)
    cols = _starts(area.col - padding, area.right + padding, size, stride)
    return [Window(row, col, size, size) for row in rows for col in cols]


def scatter(area: Window, size: int, count: int, generator: np.random.Generator, padding: int = 0) -> list[Window]:
    """Draw ``count`` windows of ``size`` px uniformly within ``area`` grown by ``padding`` px, in row order.

    Where the grown area is smaller than a window, windows are centred on it and reach over its edges.
    """
    rows = _draw(area.row - padding, area.bottom + padding, size, count, generator)
    cols = _draw(area.col - padding, area.right + padding, size, count, generator)
    return sorted(Window(int(row), int(col), size, size) for row, col in zip(rows, cols, strict=True))


def _starts(first: int, last: int, size: int, stride: int) -> range:
    steps = max(0, -(-(last - first - size) // stride))
    return range(first, first + steps * stride + 1, stride)


def _draw(first: int, last: int, size: int, count: int, generator: np.random.Generator) -> np.ndarray:
    if last - first <= size:
        return np.full(count, first - (size - (last - first)) // 2)
    return generator.integers(first, last - size, size=count, endpoint=True)
