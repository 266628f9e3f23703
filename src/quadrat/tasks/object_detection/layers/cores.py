"""Cores, which decide from which of several overlapping windows a detection is taken."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.windows import Window
from quadrat.tasks.object_detection.targets.overlaps import Boxes


@dataclass(frozen=True)
class Cores:
    """Windows of ``size`` px, ``stride`` px apart, that begin ``margin`` px above and left of ``area``.

    A window's core is the window without ``margin`` px above and left, and without the rest of its overlap below and
    right; at the area's edges it is unbounded. The cores adjoin without overlap.
    """

    area: Window
    size: int
    stride: int
    margin: int

    def owned(self, window: Window, boxes: Boxes) -> NDArray[np.bool_]:
        """Return which boxes (box, 4), in px of the grid, belong to the window: their middle half meets its core.

        A test of the centre would not be enough: two windows may each predict an object's centre in the other's core,
        and the object would be lost. If all boxes of an object overlap by half or more, their middle halves share a
        point (pairwise overlapping upright boxes do), and the window whose core holds that point keeps its box.
        Duplicates are left to suppression.
        """
        top, bottom = self._core(window.row, self.area.row, self.area.bottom)
        left, right = self._core(window.col, self.area.col, self.area.right)
        near, far = 0.75 * boxes[:, :2] + 0.25 * boxes[:, 2:], 0.25 * boxes[:, :2] + 0.75 * boxes[:, 2:]
        return np.logical_and((near <= [right, bottom]).all(1), (far >= [left, top]).all(1))

    def _core(self, start: int, first: int, last: int) -> tuple[float, float]:
        begins = start <= first - self.margin
        ends = start + self.size >= last + self.margin
        core = start + self.margin
        return -np.inf if begins else core, np.inf if ends else core + self.stride
