"""Scores detections against the labels' boxes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.geo.grids.blocks import Blocks
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window
from quadrat.tasks.common import prediction_features
from quadrat.tasks.common.metrics import Counts
from quadrat.tasks.common.outputs import Outlines
from quadrat.tasks.common.polygons import PolygonCounts, matching
from quadrat.tasks.common.reliability import CALIBRATED, UNCALIBRATED, Reliability
from quadrat.tasks.common.scoring import Prediction, TaskScoring
from quadrat.tasks.common.targets import Target
from quadrat.tasks.object_detection.scoring.counts import BoxCounts
from quadrat.tasks.object_detection.scoring.resampling import joined, split
from quadrat.tasks.object_detection.section import (
    LAYER,
    LIKELY,
    VALIDATING,
    DetectionMatch,
    ObjectDetection,
)
from quadrat.tasks.object_detection.targets.decoding import decoded
from quadrat.tasks.object_detection.targets.detections import Detections
from quadrat.tasks.object_detection.targets.labelled_boxes import labelled_boxes
from quadrat.tasks.object_detection.targets.matching import Seen, matched
from quadrat.tasks.object_detection.targets.overlaps import centred, outlined, solid
from quadrat.tasks.object_detection.targets.suppression import suppressed

if TYPE_CHECKING:
    from quadrat.tasks.common.truth import Truth

RIGHT = DetectionMatch(iou=0.5, score=LIKELY)
"""When these detections are correct, independent of the section eval."""


class Scoring(TaskScoring[ObjectDetection]):
    """Matches detections with labelled boxes."""

    monitor: ClassVar[str] = "map50"

    def no_counts(self, match: DetectionMatch | None = None) -> BoxCounts:
        """Return counts of no image."""
        rule = match or RIGHT
        return BoxCounts((), len(self.task.classes), rule.iou, rule.score)

    def chip_counts(self, target: Target, outputs: Mapping[str, NDArray[np.float32]]) -> BoxCounts:
        """Count outputs of chips against ``boxes`` (chip, box, 5), by the rules VALIDATING and RIGHT."""
        images = []
        for number, boxes in enumerate(target["boxes"]):
            truth = boxes[~np.isnan(boxes[:, 0])]
            found = decoded(
                outputs["scores"][number], outputs["boxes"][number], VALIDATING.min_score, VALIDATING.max_detections
            )
            kept = suppressed(found.picked(solid(found.boxes)), VALIDATING.nms)
            images.append(Seen(truth[:, :4].astype(np.float64), truth[:, 4].astype(np.uint8), kept))
        return replace(self.no_counts(), images=tuple(images))

    def score_blocks(
        self,
        truth: "Truth",
        predictions: Sequence[Prediction],
        blocks: Blocks,
        match: DetectionMatch | None = None,
    ) -> list[dict[int, BoxCounts]]:
        """Match each prediction's detections with the labels' boxes; both count by their centres.

        Boxes that meet the AOI but do not count are ignored, and so are detections on them.
        """
        none = self.no_counts(match)
        return [
            {number: replace(none, images=(part,)) for number, part in parts.items()}
            for parts in split(self._seen(truth, predictions), blocks, none.iou)
        ]

    def together(self, blocks: Iterable[BoxCounts], match: DetectionMatch | None = None) -> BoxCounts:
        """Return the counts of a scene as one image, in which the order of equal scores is that of places.

        So average precision does not depend on the blocks.
        """
        images = [seen for counts in blocks for seen in counts.images]
        none = self.no_counts(match)
        return replace(none, images=(joined(images),)) if images else none

    def reliability(
        self, truth: "Truth", prediction: Prediction, counts: Counts, match: DetectionMatch | None = None
    ) -> dict[str, Reliability]:
        """Count the detections that find a box, by their scores; those on ignored boxes count nowhere."""
        del truth, prediction
        assert isinstance(counts, BoxCounts)
        found: dict[str, Reliability] = {}
        for seen in counts.images:
            matches = matched(seen, (match or RIGHT).iou)
            told = {CALIBRATED: seen.found.scores, UNCALIBRATED: seen.found.before}
            for name, scores in told.items():
                if scores is not None:
                    some = Reliability.of_scores(scores[~matches.absorbed], matches.truth[~matches.absorbed] >= 0)
                    found[name] = found[name] + some if name in found else some
        return found

    def polygons(self, truth: "Truth", prediction: Prediction) -> PolygonCounts:
        """Match the outlines of detections with those of labelled objects, in place of the boxes around both."""
        return matching(truth, prediction.features(LAYER), self.task.names)

    def label_map(self, truth: "Truth", prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return IGNORE (y, x): boxes are drawn as outlines."""
        return np.full(window.shape, IGNORE, np.uint8)

    def predicted_map(self, prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return IGNORE (y, x): boxes are drawn as outlines."""
        return np.full(window.shape, IGNORE, np.uint8)

    def outlines(
        self, truth: "Truth | None", prediction: Prediction, match: DetectionMatch | None = None
    ) -> tuple[Outlines, Outlines]:
        """Return the labels' boxes, and the detections with at least ``match.score``.

        Labels are correct if they are found or ignored; detections, if they find a box or are on an ignored one.
        """
        rule = match or RIGHT
        if truth is None:
            none = np.empty(0, np.uint8)
            seen = Seen(np.empty((0, 4)), none, self._detections(prediction)).above(rule.score)
        else:
            seen = self._seen(truth, [prediction])[0].above(rule.score)
        matches = matched(seen, rule.iou)
        right = ~seen.counted
        right[matches.truth[matches.truth >= 0]] = True
        good = (matches.truth >= 0) | matches.absorbed
        return (
            Outlines(outlined(seen.truth), seen.class_ids, right),
            Outlines(outlined(seen.found.boxes), seen.found.class_ids, good if truth else np.ones_like(good)),
        )

    def _seen(self, truth: "Truth", predictions: Sequence[Prediction]) -> list[Seen]:
        """Return what is on the image of the boxes of a scene's labels, with the detections of each prediction."""
        bounds, class_ids = labelled_boxes(self.task, truth.labels, truth.area)
        found = [self._detections(prediction).within(truth.labels.grid.area) for prediction in predictions]
        every = np.concatenate([bounds, *(detections.boxes for detections in found)])
        hit = np.zeros(len(every), np.bool_)
        for window in truth.windows():
            mine = centred(every, window, None)
            if mine.any():
                hit[mine] = centred(every[mine], window, truth.counted(window))
        mine, *theirs = np.split(hit, np.cumsum([len(bounds), *map(len, found)])[:-1])
        class_ids = np.where(mine, class_ids, np.uint8(IGNORE))
        return [
            Seen(bounds, class_ids, detections.picked(counted).ranked())
            for detections, counted in zip(found, theirs, strict=True)
        ]

    def _detections(self, prediction: Prediction) -> Detections:
        features = prediction.features(LAYER)
        if not len(features.geometry):
            return Detections.none()
        boxes = shapely.bounds(features.geometry)
        flat = int((~solid(boxes) | (shapely.get_dimensions(features.geometry) < 2)).sum())
        if flat:
            got = [f"{flat} of {len(boxes)} without an area"]
            raise prediction_features.unlike(features, "detections are not boxes", "polygons", got)
        class_ids = prediction_features.class_ids(features, self.task.names)
        known = "uncalibrated" in features.fields
        before = prediction_features.scores(features, "uncalibrated") if known else None
        return Detections(boxes, class_ids, prediction_features.scores(features, "score"), before)
