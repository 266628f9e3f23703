"""The tasks with their sections, and the one place that lists them."""

from typing import Annotated, TypeAlias

from pydantic import Field

from quadrat.tasks.chip_classification.task import CellLayers, ChipClassification, ClassificationLoss
from quadrat.tasks.common.base import ScoredTask
from quadrat.tasks.common.base import Task as TaskContract
from quadrat.tasks.common.classes import Class, Unit
from quadrat.tasks.object_detection.task import DetectionLayers, DetectionLoss, DetectionMatch, ObjectDetection
from quadrat.tasks.semantic_segmentation.task import SegmentationLayers, SegmentationLoss, SemanticSegmentation

Task = Annotated[SemanticSegmentation | ChipClassification | ObjectDetection, Field(discriminator="kind")]
Loss = Annotated[SegmentationLoss | ClassificationLoss | DetectionLoss, Field(discriminator="kind")]
Layers = Annotated[SegmentationLayers | CellLayers | DetectionLayers, Field(discriminator="kind")]
Match: TypeAlias = DetectionMatch | None
"""The section ``eval.match``."""

__all__ = [
    "ChipClassification",
    "Class",
    "Layers",
    "Loss",
    "Match",
    "ObjectDetection",
    "ScoredTask",
    "SemanticSegmentation",
    "Task",
    "TaskContract",
    "Unit",
]
