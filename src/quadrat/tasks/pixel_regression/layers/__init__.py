"""Values of overlapping windows as a layer."""

from collections.abc import Iterator, Mapping
from math import nan

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.tiling import Blend, Blended
from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.layers import TaskLayers
from quadrat.tasks.common.outputs import RasterLayer, Rows
from quadrat.tasks.pixel_regression.section import PixelRegression, RegressionLayers


class Layers(TaskLayers[PixelRegression]):
    """The layer ``values``."""

    def written(self, section: RegressionLayers) -> list[RasterLayer]:
        """Return what predict writes for a scene."""
        return [RasterLayer("values", "float32", self.task.names, nan)]

    def canvas(
        self,
        section: RegressionLayers,
        area: Window,
        size: int,
        stride: int,
        shape: tuple[int, int],
    ) -> "ValueCanvas":
        """Return the canvas for windows of ``size`` px over ``area``."""
        return ValueCanvas(Blend(area, 1, size, stride))


class ValueCanvas:
    """Blends values."""

    def __init__(self, blend: Blend) -> None:
        """Start empty."""
        self._blend = blend

    def paste(
        self, window: Window, outputs: Mapping[str, NDArray[np.float32]], valid: NDArray[np.bool_]
    ) -> Iterator[Rows]:
        """Take ``values`` (1, y, x) of a window; give finished rows."""
        yield from map(_rows, self._blend.paste(window, outputs["values"], valid))

    def close(self) -> Iterator[Rows]:
        """Give the remaining rows."""
        yield from map(_rows, self._blend.close())


def _rows(rows: Blended) -> Rows:
    return Rows("values", rows.row, rows.col, np.where(rows.covered, rows.values, np.float32(np.nan)))
