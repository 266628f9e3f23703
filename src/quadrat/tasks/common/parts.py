"""Imports the parts of a task one by one, so that a stage imports only those that it needs.

A task is a folder named by its kind: ``section.py`` with its parameters, and a package for each part with a class of
the part's name. ``dvc.yaml`` lists the parts that a stage uses.
"""

from importlib import import_module
from typing import Any

from quadrat.tasks.common.calibration import Calibration
from quadrat.tasks.common.layers import TaskLayers
from quadrat.tasks.common.loss import ClassLoss, LogitLoss, TaskLoss
from quadrat.tasks.common.scoring import TaskScoring
from quadrat.tasks.common.section import TaskSection
from quadrat.tasks.common.targets import TaskTargets


def targets_of(task: TaskSection) -> TaskTargets[Any]:
    """Return the part that makes target arrays from labels."""
    targets: TaskTargets[Any] = _part(task, "targets")
    return targets


def loss_of(task: TaskSection) -> TaskLoss[Any]:
    """Return the part that defines a network's outputs and loss."""
    loss: TaskLoss[Any] = _part(task, "loss")
    return loss


def logit_loss_of(task: TaskSection) -> LogitLoss[Any]:
    """Return the same for a task whose networks give logits; raise TypeError for other tasks."""
    loss = loss_of(task)
    if not isinstance(loss, LogitLoss):
        raise TypeError(f"networks of the task {task.kind} give no logits")
    return loss


def class_loss_of(task: TaskSection) -> ClassLoss[Any]:
    """Return the same for a task with classes; raise TypeError if models of single pixels can't learn it."""
    loss = loss_of(task)
    if not isinstance(loss, ClassLoss):
        raise TypeError(f"pixels have no classes in the task {task.kind}")
    return loss


def layers_of(task: TaskSection, calibration: Calibration | None = None) -> TaskLayers[Any]:
    """Return the part that makes layers from a network's outputs, with probabilities by its ``calibration``."""
    layers: TaskLayers[Any] = _part(task, "layers", calibration)
    return layers


def scoring_of(task: TaskSection) -> TaskScoring[Any]:
    """Return the part that scores predictions against labels."""
    scoring: TaskScoring[Any] = _part(task, "scoring")
    return scoring


def part_module(kind: str, part: str) -> str:
    """Return the name of the package that holds a part of a kind of task."""
    return f"quadrat.tasks.{kind}.{part}"


def _part(task: TaskSection, part: str, *more: object) -> Any:
    return getattr(import_module(part_module(task.kind, part)), part.title())(task, *more)
