"""Images of which each object is a patch of one value, and a model that reads them, for tests of detection."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.ndimage import find_objects, label

from quadrat.models import Outputs
from quadrat.tasks.object_detection.section import DetectionLayers


def layers(**options: Any) -> DetectionLayers:
    content = {
        "kind": "object_detection",
        "detections": "detections.parquet",
        "min_score": 0.1,
        "max_detections": 1000,
        "nms": {"measure": "iou", "overlap": 0.5},
        **options,
    }
    return DetectionLayers.model_validate(content, strict=False)


def marked(shape: tuple[int, int], boxes: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """Return pixels (1, y, x) of which each value is the number of a box, from 2 on; 1 is ground."""
    pixels = np.ones((1, *shape), np.uint16)
    for number, (left, top, right, bottom) in enumerate(np.asarray(boxes, int)):
        pixels[0, max(top, 0) : bottom, max(left, 0) : right] = 2 + 2 * number + ids[number]
    return pixels


def reader(pixels: np.ndarray) -> Outputs:
    """Predict a box around each patch of one value: the odd ones are cars."""
    places = 40
    scores, boxes = np.zeros((len(pixels), places, 2), np.float32), np.zeros((len(pixels), places, 4), np.float32)
    for window, chip_pixels in enumerate(pixels[:, 0]):
        patches = [
            (v, *patch) for v in np.unique(chip_pixels) if v > 1 for patch in find_objects(label(chip_pixels == v)[0])
        ]
        for place, (value, rows, cols) in enumerate(patches):
            boxes[window, place] = cols.start, rows.start, cols.stop, rows.stop
            area = (rows.stop - rows.start) * (cols.stop - cols.start)
            scores[window, place, value % 2] = min(1, 0.5 + area / 1000)
    return {"scores": scores, "boxes": boxes}


BOXES = np.array(
    [
        [5, 5, 15, 14],
        [28, 10, 38, 18],
        [60, 3, 70, 12],
        [12, 30, 20, 40],
        [55, 40, 64, 52],
        [80, 50, 90, 60],
        [84, 2, 95, 9],
    ]
)
IDS = [0, 1, 0, 1, 1, 0, 0]
