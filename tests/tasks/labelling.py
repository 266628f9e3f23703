"""Stand-ins of labels, in memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from quadrat.geo.grids.windows import Window
from quadrat.labels.objects import Objects

NONE = 255


@dataclass(frozen=True)
class Areas:
    """Vector labels."""

    geometry: tuple[Any, ...]
    ids: tuple[int, ...]
    background: int = NONE

    def class_ids(self, window: Window, *, all_touched: bool) -> np.ndarray:
        """Fail: areas are asked for their objects."""
        raise AssertionError(window, all_touched)

    def objects(self, window: Window) -> Objects:
        """Return what meets the window."""
        return Objects(np.array(self.geometry, object), np.array(self.ids, np.uint8)).within(window)


@dataclass(frozen=True)
class Pixels:
    """A raster, from row and column -50 of the grid on."""

    ids: np.ndarray
    background: int = NONE

    def class_ids(self, window: Window, *, all_touched: bool) -> np.ndarray:
        """Return the window's class ids."""
        assert not all_touched
        inner = self.ids[window.row + 50 : window.bottom + 50, window.col + 50 : window.right + 50]
        return np.where(inner == NONE, self.background, inner).astype(np.uint8)

    def objects(self, window: Window) -> None:
        """Return None, because pixels are not objects."""
        assert window.height
