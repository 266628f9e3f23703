"""Blocks: an area of a grid cut into squares, in which predictions are counted apart from each other."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.windows import Window

MOST = 1024
"""Largest number of blocks of an area."""

SMALLEST = 8
"""Smallest side of a block, px."""


@dataclass(frozen=True)
class Blocks:
    """Squares of ``side`` px from the upper left corner of ``area`` on, numbered in row order."""

    area: Window
    side: int

    @classmethod
    def of(cls, area: Window, most: int = MOST) -> "Blocks":
        """Return the finest blocks of which there are about ``most``, or fewer."""
        return cls(area, max(SMALLEST, math.ceil(math.sqrt(area.size / most))))

    @classmethod
    def one(cls, area: Window) -> "Blocks":
        """Return a single block that holds all of ``area``."""
        return cls(area, max(area.shape))

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of blocks."""
        return math.ceil(self.area.height / self.side), math.ceil(self.area.width / self.side)

    def numbers(self, rows: NDArray[np.integer], cols: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the block of each pixel (pixel,); pixels beyond the area belong to the nearest block."""
        down, across = self.shape
        block_rows = np.clip((rows - self.area.row) // self.side, 0, down - 1)
        block_cols = np.clip((cols - self.area.col) // self.side, 0, across - 1)
        return np.asarray(block_rows * across + block_cols, np.int64)

    def parts(self, window: Window) -> Iterator[tuple[int, tuple[slice, slice]]]:
        """Yield the number of each block that meets a window within the area, and its (y, x) slices of the window."""
        for top, bottom in self._cuts(window.row, window.bottom, self.area.row):
            for left, right in self._cuts(window.col, window.right, self.area.col):
                row, col = (top - self.area.row) // self.side, (left - self.area.col) // self.side
                here = slice(top - window.row, bottom - window.row), slice(left - window.col, right - window.col)
                yield row * self.shape[1] + col, here

    def _cuts(self, first: int, last: int, origin: int) -> Iterator[tuple[int, int]]:
        while first < last:
            end = min(((first - origin) // self.side + 1) * self.side + origin, last)
            yield first, end
            first = end
