"""The tasks with their sections, and the one place that lists them."""

from typing import Annotated, TypeAlias

from pydantic import Field

from quadrat.tasks.chip_classification import CellLayers, ChipClassification, ClassificationLoss
from quadrat.tasks.semantic_segmentation import SegmentationLayers, SegmentationLoss, SemanticSegmentation
from quadrat.tasks.task import Class, ScoredTask, Unit
from quadrat.tasks.task import Task as TaskContract

Task = Annotated[SemanticSegmentation | ChipClassification, Field(discriminator="kind")]
Loss = Annotated[SegmentationLoss | ClassificationLoss, Field(discriminator="kind")]
Layers = Annotated[SegmentationLayers | CellLayers, Field(discriminator="kind")]
Match: TypeAlias = None
"""The section ``eval.match``."""

__all__ = [
    "ChipClassification",
    "Class",
    "Layers",
    "Loss",
    "Match",
    "ScoredTask",
    "SemanticSegmentation",
    "Task",
    "TaskContract",
    "Unit",
]
