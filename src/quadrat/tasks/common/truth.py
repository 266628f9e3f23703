"""The labels of a predicted scene."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.windows import STRIP_ROWS, Window, strips

if TYPE_CHECKING:
    from quadrat.labels.labels import Labels
    from quadrat.scenes.scene import OpenScene


@dataclass(frozen=True)
class Truth:
    """An open scene that has labels."""

    scene: "OpenScene"
    labels: "Labels"

    @property
    def area(self) -> Window:
        """The window that contains everything that counts."""
        return self.scene.area

    def windows(self) -> Iterator[Window]:
        """Yield full-width windows of ``area``, top to bottom, that together cover it."""
        return strips(self.area, STRIP_ROWS)

    def inside(self, window: Window) -> NDArray[np.bool_]:
        """Return (y, x), True within the AOI."""
        return self.scene.inside(window)

    def counted(self, window: Window) -> NDArray[np.bool_]:
        """Return (y, x), True within the AOI where the open bands have a value."""
        return self.scene.counted(window, self.scene.raster.read(window).valid)
