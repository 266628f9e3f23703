"""Object detection: an upright box and a class for every object."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from pydantic import Field, field_validator

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window, whole
from quadrat.runtime.formats.section import Section
from quadrat.tasks.common import prediction_features
from quadrat.tasks.common.base import Task
from quadrat.tasks.common.classes import Class, Unit
from quadrat.tasks.common.inputs import Labels, Prediction, Truth
from quadrat.tasks.common.outputs import Features, Outlines, RasterLayer, Signature, VectorLayer, WrittenLayers
from quadrat.tasks.object_detection.boxes import (
    RECIPE,
    BoxCounts,
    Boxes,
    Cores,
    Detections,
    Seen,
    StreamingNMS,
    Suppression,
    areas,
    centred,
    clipped,
    decoded,
    matched,
    outlined,
    solid,
    suppressed,
)

if TYPE_CHECKING:
    import torch

LAYER = "detections"
FILES = re.compile(rf"{LAYER}\.(parquet|gpkg|fgb|geojson)")
"""Names of vector files; ``quadrat.prediction.vector_file`` writes these formats."""

LIKELY = 0.5
"""Score from which on a model is said to have decided that an object is there."""


class DetectionLoss(Section):
    """The weights of what a detector's loss adds up."""

    kind: Literal["object_detection"]
    classification: float = Field(ge=0)
    """Weight of what is lost by wrong classes and scores."""
    boxes: float = Field(ge=0)
    """Weight of what is lost by boxes in the wrong place."""


class DetectionMatch(Section):
    """When a detection is right: the section ``eval.match``. Average precision goes by COCO's rules instead."""

    iou: float = Field(gt=0, le=1)
    """Least intersection over union with a box of its class that no better detection has found."""
    score: float = Field(ge=0, le=1)
    """Least score of what is taken for a detection."""


class DetectionLayers(WrittenLayers):
    """What predict writes: the detections."""

    kind: Literal["object_detection"]
    detections: str
    """Name of the vector file of the detections: ``detections``, with an ending that is its format."""
    min_score: float = Field(ge=0, le=1)
    """Least score of what is written. Average precision wants this low: eval.match.score chooses among them."""
    max_detections: int = Field(ge=1)
    """Most detections of a window, the best, that are held against each other."""
    nms: Suppression
    """Which detections are taken for one object, within windows and across them."""

    @field_validator("detections")
    @classmethod
    def _check_detections(cls, detections: str) -> str:
        if not FILES.fullmatch(detections):
            raise ValueError(f"{LAYER} is called {LAYER}.parquet, or .gpkg, .fgb or .geojson")
        return detections


VALIDATING = DetectionLayers(
    kind="object_detection",
    detections="detections.parquet",
    min_score=0.05,
    max_detections=1000,
    nms=Suppression(measure="iou", overlap=0.5),
)
"""How the detections of validation chips are made while a model learns, whatever predict does."""

RIGHT = DetectionMatch(iou=0.5, score=LIKELY)
"""When they are right, whatever eval says."""


class ObjectDetection(Task):
    """A box and a class for every object: labels are the upright boxes around features.

    A box counts where its centre does: where that pixel is valid and within the AOI. Boxes are those of the grid:
    what of them lies beyond the image's edge is cut off, and the centre is that of what is left.
    """

    unit: ClassVar[Unit] = "boxes"
    monitor: ClassVar[str] = "map50"
    ragged: ClassVar[frozenset[str]] = frozenset({"boxes"})
    blanks: ClassVar[bool] = True
    matches: ClassVar[bool] = True

    kind: Literal["object_detection"]
    classes: tuple[Class, ...] = Field(min_length=1, max_length=IGNORE)
    """The classes, in the order of their ids, from 0."""
    min_inside_fraction: float = Field(gt=0, le=1)
    """Least share of an object's box on the image, and of what is left there inside a window that teaches it. With less
    it is ignored: neither an object nor background. A window must hold the box's centre, too, so that of a box which
    one of its sides cuts, it has half: a share below 0.5 lets in more at the image's edge and in a window's corners."""
    partial: Literal["clip", "drop"]
    """What a window teaches of a box that it cuts, and has ``min_inside_fraction`` of: the part inside, or nothing."""

    def census(self, labels: Labels, window: Window, counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how many boxes of each class (K,) have their centre in a strip, where it counts."""
        bounds, class_ids = self._boxes(labels, window)
        return self._bincount(class_ids[centred(bounds, window, counted)])

    def target(self, labels: Labels, window: Window, counted: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return ``boxes`` (box, 5): left, top, right, bottom in px of the window, none beyond it, and the class id.

        That is IGNORE for a box whose centre doesn't count, that the catalog drops, or of which too much is cut off.
        """
        bounds, class_ids = self._boxes(labels, window)
        inside = clipped(bounds, window)
        share = areas(inside) / areas(bounds)
        taught = centred(bounds, window, counted) & (
            share >= (self.min_inside_fraction if self.partial == "clip" else 1)
        )
        boxes = np.column_stack([inside - [window.col, window.row] * 2, np.where(taught, class_ids, IGNORE)])
        boxes = boxes.astype(np.float32)
        return {"boxes": boxes[solid(boxes[:, :4])]}  # what is left of a box may be less than rounding

    def class_counts(self, target: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Return how many boxes of each class (K,) a target holds."""
        return self._bincount(target["boxes"][:, 4].astype(np.uint8))

    def most_labels(self, features: NDArray[Any], wanted: NDArray[np.bool_], size: int) -> float:
        """Return all boxes of the scene."""
        return float(features[wanted].sum())

    def turn(self, target: Mapping[str, "torch.Tensor"], symmetry: int, size: int) -> dict[str, "torch.Tensor"]:
        """Return ``boxes`` (chip, box, 5) under a symmetry of the square."""
        import torch

        from quadrat.tasks.common.symmetries import turn_boxes

        boxes = target["boxes"]
        return {"boxes": torch.cat([turn_boxes(boxes[..., :4], symmetry, size), boxes[..., 4:]], -1)}

    def layers(self, layers: DetectionLayers) -> list[RasterLayer | VectorLayer]:
        """Return what predict writes for a scene."""
        return [VectorLayer(LAYER, layers.detections)]

    def canvas(
        self, layers: DetectionLayers, area: Window, size: int, stride: int, shape: tuple[int, int]
    ) -> "DetectionCanvas":
        """Return what takes detections of windows over ``area`` of a grid of ``shape``."""
        return DetectionCanvas(self, layers, Cores(area, size, stride, self.margin(size, stride)), shape)

    def no_counts(self, match: DetectionMatch | None = None) -> BoxCounts:
        """Return counts of no image."""
        rule = match or RIGHT
        return BoxCounts((), len(self.classes), rule.iou, rule.score)

    def chip_counts(self, target: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[np.float32]]) -> BoxCounts:
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

    def score(
        self, truth: Truth, predictions: Sequence[Prediction], match: DetectionMatch | None = None
    ) -> list[BoxCounts]:
        """Match each prediction's detections with the labels' boxes, both where their centres count.

        Boxes that meet the AOI and don't count are ignored, and so are detections that lie on them.
        """
        return [replace(self.no_counts(match), images=(seen,)) for seen in self._seen(truth, predictions)]

    def label_map(self, truth: Truth, prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return IGNORE (y, x): boxes are drawn as outlines."""
        return np.full(window.shape, IGNORE, np.uint8)

    def predicted_map(self, prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return IGNORE (y, x): boxes are drawn as outlines."""
        return np.full(window.shape, IGNORE, np.uint8)

    def outlines(
        self, truth: Truth | None, prediction: Prediction, match: DetectionMatch | None = None
    ) -> tuple[Outlines, Outlines]:
        """Return the labels' boxes and those detections that ``match.score`` lets pass.

        Labels are right that are found or ignored, detections that find one or are absorbed by one that is ignored.
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

    def decided(self, outputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.bool_]:
        """Return where a model finds an object: (chip, location)."""
        likely: NDArray[np.bool_] = outputs["scores"].max(2) >= LIKELY
        return likely

    def signature(self) -> Signature:
        """Return what a model gives: boxes at every location, with a score for each class."""
        return Signature(
            f"a box at each of many locations, with a score for each of {len(self.classes)} classes",
            {
                "scores": "(window, location, class): each class's score, 0 to 1; low where there is nothing",
                "boxes": "(window, location, 4): left, top, right, bottom, px of the window from its upper left corner",
            },
            RECIPE.format(likely=LIKELY),
            {"scores": ("window", "location", len(self.classes)), "boxes": ("window", "location", 4)},
        )

    def _boxes(self, labels: Labels, window: Window) -> tuple[Boxes, NDArray[np.uint8]]:
        """Return the boxes that meet a window, and their class ids: IGNORE where the image shows too little of them."""
        found = labels.envelopes(window)
        return found.bounds, np.where(found.shares >= self.min_inside_fraction, found.class_ids, np.uint8(IGNORE))

    def _bincount(self, class_ids: NDArray[np.uint8]) -> NDArray[np.int64]:
        return np.bincount(class_ids, minlength=IGNORE + 1)[: len(self.classes)]

    def _seen(self, truth: Truth, predictions: Sequence[Prediction]) -> list[Seen]:
        """Return the boxes of a scene's labels, with the detections of each prediction."""
        windows = list(truth.windows())
        first, last = windows[0], windows[-1]
        area = Window(first.row, first.col, last.bottom - first.row, first.width)
        bounds, class_ids = self._boxes(truth.labels, area)
        found = [self._detections(prediction) for prediction in predictions]
        every = np.concatenate([bounds, *(detections.boxes for detections in found)])
        hit = np.zeros(len(every), np.bool_)
        for window in windows:
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
        flat = int((~solid(boxes)).sum())
        if flat:
            got = [f"{flat} of {len(boxes)} without an area"]
            raise prediction_features.unlike(features, "detections are no boxes", "polygons", got)
        return Detections(
            boxes, prediction_features.class_ids(features, self.names), prediction_features.scores(features, "score")
        )


class DetectionCanvas:
    """Takes each window's own detections, suppresses what is double, and gives what no later window can change."""

    def __init__(self, task: ObjectDetection, layers: DetectionLayers, cores: Cores, shape: tuple[int, int]) -> None:
        """Start empty."""
        self._layers, self._cores, self._grid = layers, cores, whole(shape)
        self._names = np.array(task.names, object)
        self._nms = StreamingNMS(layers.nms)
        self._row = -np.inf

    def paste(
        self, window: Window, outputs: Mapping[str, NDArray[np.float32]], valid: NDArray[np.bool_]
    ) -> Iterator[Features]:
        """Take ``scores`` (location, class) and ``boxes`` (location, 4) of a window; give what it settles.

        Boxes are cut off at the window's edge and the grid's. What has its centre where nothing is valid is dropped.
        """
        if window.row > self._row:  # all that comes lies below
            self._row = window.row
            yield self._features(self._nms.settle(window.row))
        inside = window.intersection(self._grid)
        if inside is None:
            return
        found = decoded(outputs["scores"], outputs["boxes"], self._layers.min_score, self._layers.max_detections)
        boxes = clipped(found.boxes + [window.col, window.row] * 2, inside)
        mine = solid(boxes) & centred(boxes, window, valid) & self._cores.owned(window, boxes)
        self._nms.add(Detections(boxes, found.class_ids, found.scores).picked(mine))

    def close(self) -> Iterator[Features]:
        """Give what is left."""
        yield self._features(self._nms.close())

    def _features(self, detections: Detections) -> Features:
        fields = {
            "class": self._names[detections.class_ids],
            "class_id": detections.class_ids,
            "score": detections.scores,
        }
        return Features(LAYER, outlined(detections.boxes), fields)
