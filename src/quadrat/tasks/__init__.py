"""The tasks with their sections, and the one place that lists them."""

from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import Field

from quadrat.tasks.chip_classification import CellLayers, ChipClassification, ClassificationLoss
from quadrat.tasks.semantic_segmentation import SegmentationLayers, SegmentationLoss, SemanticSegmentation
from quadrat.tasks.task import Class, ScoredTask, Unit
from quadrat.tasks.task import Task as TaskContract

if TYPE_CHECKING:
    Task: TypeAlias = TaskContract  # whoever is handed a task knows no more of it
else:
    Task = Annotated[ChipClassification | SemanticSegmentation, Field(discriminator="kind")]
Loss = Annotated[ClassificationLoss | SegmentationLoss, Field(discriminator="kind")]
Layers = Annotated[CellLayers | SegmentationLayers, Field(discriminator="kind")]
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
