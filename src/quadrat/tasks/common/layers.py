"""The part ``layers`` of a task: turns a model's outputs into the layers that predict writes."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.blended import PixelDecisions
from quadrat.tasks.common.calibration import Calibration
from quadrat.tasks.common.outputs import Canvas, RasterLayer, VectorLayer
from quadrat.tasks.common.part import AnyTask, TaskPart


class TaskLayers(TaskPart[AnyTask]):
    """Lists the layers of a scene, and makes them, for predict and apply.

    ``section`` is the task's own section ``predict.layers``. Models give scores as they learnt to; layers show them
    as probabilities by the model's ``calibration``, after blending, so that it changes no label.
    """

    def __init__(self, task: AnyTask, calibration: Calibration | None = None) -> None:
        """Make layers of ``task``; scores are shown as they are without a ``calibration``."""
        super().__init__(task)
        self.calibration = calibration

    @abstractmethod
    def written(self, section: Any) -> Sequence[RasterLayer | VectorLayer]:
        """Return the layers of a scene."""

    def check(self, section: Any) -> None:
        """Raise ModelError for layers that the model's calibration does not allow."""

    @abstractmethod
    def canvas(self, section: Any, area: Window, size: int, stride: int, shape: tuple[int, int]) -> Canvas:
        """Return the canvas for windows of ``size`` px, ``stride`` px apart, over an ``area`` of a grid.

        ``shape`` is the grid's (height, width).
        """

    def decisions(self, section: Any, area: Window) -> PixelDecisions | None:
        """Return what decides of every pixel over an ``area`` of a grid; None where windows are not blended."""
        return None

    def margin(self, size: int, stride: int) -> int:
        """Return the px by which windows begin above and left of an area: half of their overlap."""
        return (size - stride) // 2

    def reach(self, size: int) -> int:
        """Return how far, px, windows of ``size`` px change layers around them: none where pixels are blended."""
        return 0

    def plain_stride(self, size: int, stride: int, context: int) -> int:
        """Return the largest stride with full context for a model with a radius of ``context`` px (0: unknown)."""
        return stride
