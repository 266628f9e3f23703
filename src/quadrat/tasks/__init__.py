"""The tasks with their sections, and the one place that lists them."""

from typing import TypeAlias

from quadrat.tasks.semantic_segmentation import SegmentationLayers, SegmentationLoss, SemanticSegmentation
from quadrat.tasks.task import Class, ScoredTask, Unit
from quadrat.tasks.task import Task as TaskContract

Task = SemanticSegmentation
Loss = SegmentationLoss
Layers = SegmentationLayers
Match: TypeAlias = None
"""The section ``eval.match``."""

__all__ = ["Class", "Layers", "Loss", "Match", "ScoredTask", "SemanticSegmentation", "Task", "TaskContract", "Unit"]
