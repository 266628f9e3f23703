"""The canvas of object detection."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.windows import Window, whole
from quadrat.tasks.common.calibration import Calibration
from quadrat.tasks.common.outputs import Features
from quadrat.tasks.object_detection.layers.cores import Cores
from quadrat.tasks.object_detection.section import LAYER, DetectionLayers, ObjectDetection
from quadrat.tasks.object_detection.targets.decoding import decoded
from quadrat.tasks.object_detection.targets.detections import Detections
from quadrat.tasks.object_detection.targets.overlaps import centred, clipped, outlined, solid
from quadrat.tasks.object_detection.targets.suppression import StreamingNMS


class DetectionCanvas:
    """Takes each window's detections, suppresses duplicates, and gives those that no later window can change."""

    def __init__(
        self,
        task: ObjectDetection,
        layers: DetectionLayers,
        cores: Cores,
        shape: tuple[int, int],
        calibration: Calibration | None = None,
    ) -> None:
        """Start empty."""
        self._layers, self._cores, self._grid, self._calibration = layers, cores, whole(shape), calibration
        self._names = np.array(task.names, object)
        self._nms = StreamingNMS(layers.nms)
        self._row = -np.inf

    def paste(
        self, window: Window, outputs: Mapping[str, NDArray[np.float32]], valid: NDArray[np.bool_]
    ) -> Iterator[Features]:
        """Take ``scores`` (location, class) and ``boxes`` (location, 4) of a window; give finished detections.

        Boxes are cut at the edges of window and grid. Boxes with their centre on an invalid pixel are dropped.
        """
        if window.row > self._row:  # all later windows are below
            self._row = window.row
            yield self._features(self._nms.settle(window.row))
        inside = window.intersection(self._grid)
        if inside is None:
            return
        least, most = self._layers.min_score, self._layers.max_detections
        found = decoded(outputs["scores"], outputs["boxes"], least, most, self._calibration)
        boxes = clipped(found.boxes + [window.col, window.row] * 2, inside)
        mine = solid(boxes) & centred(boxes, window, valid) & self._cores.owned(window, boxes)
        self._nms.add(replace(found, boxes=boxes).picked(mine))

    def close(self) -> Iterator[Features]:
        """Give the remaining detections."""
        yield self._features(self._nms.close())

    def _features(self, detections: Detections) -> Features:
        fields = {
            "class": self._names[detections.class_ids],
            "class_id": detections.class_ids,
            "score": detections.scores,
            "uncalibrated": detections.scores if detections.before is None else detections.before,
        }
        return Features(LAYER, outlined(detections.boxes), fields)
