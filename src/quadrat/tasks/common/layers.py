"""The part ``layers`` of a task: what predict makes of a model's outputs and writes."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.blended import PixelDecisions
from quadrat.tasks.common.outputs import Canvas, RasterLayer, VectorLayer
from quadrat.tasks.common.part import AnyTask, TaskPart


class TaskLayers(TaskPart[AnyTask]):
    """Names the layers of a scene, and makes them: for predict and apply.

    ``section`` is the task's own section ``predict.layers``.
    """

    @abstractmethod
    def written(self, section: Any) -> Sequence[RasterLayer | VectorLayer]:
        """Return what is written of a scene."""

    @abstractmethod
    def canvas(self, section: Any, area: Window, size: int, stride: int, shape: tuple[int, int]) -> Canvas:
        """Return what takes windows of ``size`` px, ``stride`` px apart, over an ``area`` of a grid.

        ``shape`` is the grid's (height, width).
        """

    def decisions(self, section: Any, area: Window) -> PixelDecisions | None:
        """Return what decides of every pixel over an ``area`` of a grid; None where windows are not blended."""
        return None

    def margin(self, size: int, stride: int) -> int:
        """Return the px by which windows begin above and left of an area: half of what they overlap."""
        return (size - stride) // 2

    def plain_stride(self, size: int, stride: int, context: int) -> int:
        """Return the stride at which a model that sees ``context`` px (0: not known) loses nothing."""
        return stride
