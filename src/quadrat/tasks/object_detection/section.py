"""The sections of object detection: an upright box and a class for every object."""

import re
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.runtime.formats.section import Section
from quadrat.tasks.common.classes import Class, Unit
from quadrat.tasks.common.section import LayersSection, TaskSection

LAYER = "detections"
FILES = re.compile(rf"{LAYER}\.(parquet|gpkg|fgb|geojson)")
"""Names of vector files; ``quadrat.prediction.vector_file`` writes these formats."""

LIKELY = 0.5
"""Score from which on a model is said to have decided that an object is there."""

Measure = Literal["iou", "smaller"]
"""Intersection over union (Jaccard 1912), or over the smaller of both."""


class ObjectDetection(TaskSection):
    """A box and a class for every object: labels are the upright boxes around features.

    A box counts where its centre does: where that pixel is valid and within the AOI. Boxes are those of the grid:
    what of them lies beyond the image's edge is cut off, and the centre is that of what is left.
    """

    unit: ClassVar[Unit] = "boxes"
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


class DetectionLoss(Section):
    """The weights of what a detector's loss adds up."""

    kind: Literal["object_detection"]
    classification: float = Field(default=1, ge=0)
    """Weight of what is lost by wrong classes and scores."""
    boxes: float = Field(default=1, ge=0)
    """Weight of what is lost by boxes in the wrong place."""


class Suppression(Section):
    """When two boxes of one class are taken for one object, so that the one with the higher score stays alone."""

    measure: Measure
    """What they share: over their union (``iou``), or over the smaller of both (``smaller``)."""
    overlap: float = Field(ge=0, lt=1)
    """They are one object where that is more than this."""


class DetectionLayers(LayersSection):
    """What predict writes: the detections."""

    kind: Literal["object_detection"]
    detections: str = "detections.parquet"
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


class DetectionMatch(Section):
    """When a detection is right: the section ``eval.match``. Average precision goes by COCO's rules instead."""

    iou: float = Field(gt=0, le=1)
    """Least intersection over union with a box of its class that no better detection has found."""
    score: float = Field(ge=0, le=1)
    """Least score of what is taken for a detection."""
