"""Scores of cells as the layer ``cells``."""

from quadrat.geo.grids.cells import margin
from quadrat.geo.grids.windows import Window, whole
from quadrat.tasks.chip_classification.layers.canvas import CellCanvas
from quadrat.tasks.chip_classification.section import CellLayers, ChipClassification
from quadrat.tasks.common.layers import TaskLayers
from quadrat.tasks.common.outputs import VectorLayer


class Layers(TaskLayers[ChipClassification]):
    """A vector file of squares, with the class and scores of each."""

    def written(self, section: CellLayers) -> list[VectorLayer]:
        """Return what predict writes for a scene."""
        return [VectorLayer("cells", section.cells, self.task.classes, several=self.task.multi_label)]

    def canvas(self, section: CellLayers, area: Window, size: int, stride: int, shape: tuple[int, int]) -> CellCanvas:
        """Return the canvas for windows over ``area`` of a grid of ``shape``."""
        return CellCanvas(self.task, area, whole(shape), self.calibration)

    def margin(self, size: int, stride: int) -> int:
        """Return the px of context above and left of a cell, so that the first cell starts at the area's corner."""
        return margin(size, self.task.cell_size)
