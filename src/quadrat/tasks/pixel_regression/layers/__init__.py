"""Values of overlapping windows as a layer."""

from collections.abc import Iterator
from math import nan
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from quadrat.geo.grids.tiling import Blended
from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.blended import BlendedCanvas, Decided, PixelDecisions
from quadrat.tasks.common.layers import TaskLayers
from quadrat.tasks.common.outputs import RasterLayer, Rows
from quadrat.tasks.pixel_regression.section import PixelRegression, RegressionLayers

if TYPE_CHECKING:
    from torch import Tensor


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
    ) -> BlendedCanvas:
        """Return the canvas for windows of ``size`` px over ``area``."""
        return BlendedCanvas(self.decisions(section, area), area, size, stride)

    def decisions(self, section: RegressionLayers, area: Window) -> "ValueDecisions":
        """Return what decides of blended values."""
        return ValueDecisions()


class ValueDecisions(PixelDecisions):
    """Of each pixel its value, NaN where there is none."""

    output: ClassVar[str] = "values"
    channels = 1

    def decide(self, rows: Blended) -> Decided:
        """Return ``values`` (1, y, x)."""
        return {"values": np.where(rows.covered, rows.values, np.float32(np.nan))}

    def decide_tensors(self, values: "Tensor", covered: "Tensor") -> "dict[str, Tensor]":
        """Return ``values`` (1, y, x)."""
        return {"values": values.where(covered, nan)}

    def finish(self, row: int, col: int, decided: Decided) -> Iterator[Rows]:
        """Give rows of values."""
        yield Rows("values", row, col, decided["values"])
