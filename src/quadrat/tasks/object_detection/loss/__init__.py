"""What a detector's outputs mean; its loss is the network's own."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.common.loss import Evidence, TaskLoss
from quadrat.tasks.common.outputs import Signature
from quadrat.tasks.common.targets import Target
from quadrat.tasks.object_detection.section import LIKELY, VALIDATING, ObjectDetection
from quadrat.tasks.object_detection.targets.decoding import decoded
from quadrat.tasks.object_detection.targets.matching import Seen, matched
from quadrat.tasks.object_detection.targets.overlaps import solid
from quadrat.tasks.object_detection.targets.suppression import suppressed

FOUND = 0.5
"""IoU from which a detection finds a box."""

RECIPE = """\
def best(boxes, scores, overlap=0.5):  # greedy suppression: of boxes that overlap, the best one stays
    order, kept = np.argsort(-scores, kind="stable"), []
    while order.size:
        first, rest = order[0], order[1:]
        kept.append(first)
        sides = np.minimum(boxes[first, 2:], boxes[rest, 2:]) - np.maximum(boxes[first, :2], boxes[rest, :2])
        shared = np.prod(np.maximum(sides, 0), axis=1)
        one, other = (np.prod(b[..., 2:] - b[..., :2], axis=-1) for b in (boxes[first], boxes[rest]))
        order = rest[shared <= overlap * (one + other - shared)]
    return kept


for one, places in zip(scores, boxes):  # windows
    classes = one.argmax(1)
    for class_id in range(one.shape[1]):
        likely = np.flatnonzero((classes == class_id) & (one.max(1) >= {likely}))
        kept = likely[best(places[likely], one[likely, class_id])]
        print(class_id, places[kept], one[kept, class_id])"""
"""Greedy suppression in plain numpy, for the README: ``scores`` and ``boxes`` are those of several windows."""


class Loss(TaskLoss[ObjectDetection]):
    """Outputs are ``scores`` (chip, location, class) and ``boxes`` (chip, location, 4)."""

    class_axis: ClassVar[int] = 2
    stac: ClassVar[str] = "object-detection"
    hub: ClassVar[str | None] = "object-detection"

    def evidence(self, target: Target, outputs: Mapping[str, NDArray[np.float32]]) -> Evidence:
        """Return for each detection, made by the rules VALIDATING, whether it finds a box: 1 or 0 of its class.

        Detections on ignored boxes count nowhere.
        """
        classes = len(self.task.classes)
        truths, scores = [np.empty((0, classes), np.uint8)], [np.empty((0, classes), np.float32)]
        for boxes, *said in zip(target["boxes"], outputs["scores"], outputs["boxes"], strict=True):
            labels = boxes[~np.isnan(boxes[:, 0])]
            found = decoded(said[0], said[1], VALIDATING.min_score, VALIDATING.max_detections)
            found = suppressed(found.picked(solid(found.boxes)), VALIDATING.nms)
            matches = matched(Seen(labels[:, :4].astype(np.float64), labels[:, 4].astype(np.uint8), found), FOUND)
            counting = np.flatnonzero(~matches.absorbed)
            places = np.arange(len(counting)), found.class_ids[counting]
            truths.append(np.full((len(counting), classes), IGNORE, np.uint8))
            truths[-1][places] = matches.truth[counting] >= 0
            scores.append(np.zeros((len(counting), classes), np.float32))
            scores[-1][places] = found.scores[counting]
        return Evidence(np.concatenate(truths), np.concatenate(scores))

    def decided(self, outputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.bool_]:
        """Return where a model finds an object: (chip, location)."""
        likely: NDArray[np.bool_] = outputs["scores"].max(2) >= LIKELY
        return likely

    def signature(self) -> Signature:
        """Return what a model gives: boxes at every location, with a score for each class."""
        return Signature(
            f"a box at each of many locations, with a score for each of {len(self.task.classes)} classes",
            {
                "scores": "(window, location, class): each class's score, 0 to 1; low where there is nothing",
                "boxes": "(window, location, 4): left, top, right, bottom, px of the window from its upper left "
                "corner, cut at its edges",
            },
            RECIPE.format(likely=LIKELY),
            {"scores": ("window", "location", len(self.task.classes)), "boxes": ("window", "location", 4)},
        )
