"""The boxes of labels, by the rules of the task."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window
from quadrat.tasks.object_detection.section import ObjectDetection
from quadrat.tasks.object_detection.targets.overlaps import Boxes

if TYPE_CHECKING:
    from quadrat.labels.labels import Labels


def labelled_boxes(task: ObjectDetection, labels: "Labels", window: Window) -> tuple[Boxes, NDArray[np.uint8]]:
    """Return the boxes that meet a window, and their class ids: IGNORE if too little of the box is on the image."""
    found = labels.envelopes(window)
    return found.bounds, np.where(found.shares >= task.min_inside_fraction, found.class_ids, np.uint8(IGNORE))
