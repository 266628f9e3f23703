"""Detections of overlapping windows as the layer ``detections``."""

from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.layers import TaskLayers
from quadrat.tasks.common.outputs import VectorLayer
from quadrat.tasks.object_detection.layers.canvas import DetectionCanvas
from quadrat.tasks.object_detection.layers.cores import Cores
from quadrat.tasks.object_detection.section import LAYER, LIKELY, DetectionLayers, ObjectDetection


class Layers(TaskLayers[ObjectDetection]):
    """A vector file of boxes, with class and score of each."""

    def written(self, section: DetectionLayers) -> list[VectorLayer]:
        """Return what predict writes for a scene."""
        return [VectorLayer(LAYER, section.detections, self.task.classes, threshold=LIKELY)]

    def canvas(
        self, section: DetectionLayers, area: Window, size: int, stride: int, shape: tuple[int, int]
    ) -> DetectionCanvas:
        """Return the canvas for windows over ``area`` of a grid of ``shape``."""
        cores = Cores(area, size, stride, self.margin(size, stride))
        return DetectionCanvas(self.task, section, cores, shape, self.calibration)

    def reach(self, size: int) -> int:
        """Return the side of a window: boxes that reach into an area suppress each other, in chains of a few."""
        return size
