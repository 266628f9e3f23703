"""The list of all kinds of task, by their sections; ``common.parts`` imports what they do."""

from typing import Annotated, TypeAlias

from pydantic import Field

from quadrat.tasks.chip_classification.section import CellLayers, ChipClassification, ClassificationLoss
from quadrat.tasks.common.classes import Class, Unit
from quadrat.tasks.common.section import PluginLoss, TaskSection
from quadrat.tasks.object_detection.section import DetectionLayers, DetectionLoss, DetectionMatch, ObjectDetection
from quadrat.tasks.pixel_regression.section import PixelRegression, RegressionLayers, RegressionLoss
from quadrat.tasks.semantic_segmentation.section import SegmentationLayers, SegmentationLoss, SemanticSegmentation

Task = Annotated[
    SemanticSegmentation | ChipClassification | ObjectDetection | PixelRegression, Field(discriminator="kind")
]
"""The section ``task``."""
Loss = Annotated[
    SegmentationLoss | ClassificationLoss | DetectionLoss | RegressionLoss | PluginLoss, Field(discriminator="kind")
]
"""The section ``train.loss``."""
Layers = Annotated[SegmentationLayers | CellLayers | DetectionLayers | RegressionLayers, Field(discriminator="kind")]
"""The section ``predict.layers``."""
Match: TypeAlias = DetectionMatch | None
"""The section ``eval.match``."""

__all__ = [
    "ChipClassification",
    "Class",
    "Layers",
    "Loss",
    "Match",
    "ObjectDetection",
    "PixelRegression",
    "PluginLoss",
    "SemanticSegmentation",
    "Task",
    "TaskSection",
    "Unit",
]
