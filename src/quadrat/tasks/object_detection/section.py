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
"""Score from which a model's output counts as an object."""

Measure = Literal["iou", "smaller"]
"""Intersection over union (Jaccard 1912), or over the smaller of both."""


class ObjectDetection(TaskSection):
    """A box and a class for every object: labels are the upright boxes around features.

    A box counts if its centre is on a valid pixel within the AOI. Boxes are cut at the image's edge; the centre is that
    of the rest.
    """

    unit: ClassVar[Unit] = "boxes"
    blanks: ClassVar[bool] = True
    matches: ClassVar[bool] = True

    kind: Literal["object_detection"]
    classes: tuple[Class, ...] = Field(min_length=1, max_length=IGNORE)
    """The classes, in the order of their ids, from 0."""
    min_inside_fraction: float = Field(gt=0, le=1)
    """Smallest share of an object's box on the image, and of the rest inside a training window; a box with less is
    ignored, neither object nor background. A window must also contain the box's centre, so a share below 0.5 matters
    only at the image's edge and in a window's corners."""
    partial: Literal["clip", "drop"]
    """What a window learns from a box that its edge cuts, if ``min_inside_fraction`` is inside: the part inside, or
    nothing."""


class DetectionLoss(Section):
    """Weights of the terms of a detector's loss."""

    kind: Literal["object_detection"]
    classification: float = Field(default=1, ge=0)
    """Weight of the loss of classes and scores."""
    boxes: float = Field(default=1, ge=0)
    """Weight of the loss of boxes."""


class Suppression(Section):
    """When two boxes of one class are one object, so that only the one with the higher score is kept."""

    measure: Measure
    """Their intersection over their union (``iou``), or over the smaller box (``smaller``)."""
    overlap: float = Field(ge=0, lt=1)
    """Overlap above which they are one object."""


class DetectionLayers(LayersSection):
    """The layer that predict writes: the detections."""

    kind: Literal["object_detection"]
    detections: str = "detections.parquet"
    """Name of the vector file: ``detections`` with the ending of a format."""
    min_score: float = Field(ge=0, le=1)
    """Smallest score of written detections. Keep it low for average precision; eval.match.score selects among them."""
    max_detections: int = Field(ge=1)
    """Largest number of detections per window, the best, that go into suppression."""
    nms: Suppression
    """Which detections are one object, within and across windows."""

    @field_validator("detections")
    @classmethod
    def _check_detections(cls, detections: str) -> str:
        if not FILES.fullmatch(detections):
            raise ValueError(f"{LAYER} is called {LAYER}.parquet, or .gpkg, .fgb or .geojson")
        return detections


class DetectionMatch(Section):
    """When a detection is correct: the section ``eval.match``. Average precision uses COCO's rules instead."""

    iou: float = Field(gt=0, le=1)
    """Smallest intersection over union with a box of its class that no better detection has found."""
    score: float = Field(ge=0, le=1)
    """Smallest score of a detection."""


VALIDATING = DetectionLayers(
    kind="object_detection",
    detections="detections.parquet",
    min_score=0.05,
    max_detections=1000,
    nms=Suppression(measure="iou", overlap=0.5),
)
"""How detections of validation chips are made in training, independent of the section predict."""
