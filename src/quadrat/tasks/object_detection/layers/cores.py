"""Cores: which of several overlapping windows a detection is taken from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.windows import Window
from quadrat.tasks.object_detection.targets.overlaps import Boxes


@dataclass(frozen=True)
class Cores:
    """Windows of ``size`` px, ``stride`` px apart, that begin ``margin`` px above and left of ``area``.

    A window's core is what is left of it without ``margin`` px above and left, and without the rest of its overlap
    below and right; at the area's edges it has no end. The cores lie side by side.
    """

    area: Window
    size: int
    stride: int
    margin: int

    def owned(self, window: Window, boxes: Boxes) -> NDArray[np.bool_]:
        """Return which boxes (box, 4), in px of the grid, are the window's: whose middle half its core touches.

        A centre alone would not do: two windows that see one object in slightly different places may each put its
        centre into the other's core, and it would be lost. Where all boxes of an object overlap by half or more, their
        middle halves share a point (upright boxes of which every two meet do), and the window in whose core that
        point lies takes its own. What is taken twice is left to suppression.
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
