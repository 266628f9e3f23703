"""The tasks, and the one place that lists them."""

from quadrat.tasks.semantic_segmentation import Layers, Loss, SemanticSegmentation
from quadrat.tasks.task import Class
from quadrat.tasks.task import Task as TaskContract

Task = SemanticSegmentation

__all__ = ["Class", "Layers", "Loss", "SemanticSegmentation", "Task", "TaskContract"]
