"""The base of a task's parts, which holds the parameters of the task."""

from abc import ABC
from typing import Generic, TypeVar

from quadrat.tasks.common.section import TaskSection

AnyTask = TypeVar("AnyTask", bound=TaskSection)


class TaskPart(ABC, Generic[AnyTask]):
    """A part of a task."""

    def __init__(self, task: AnyTask) -> None:
        """Use the parameters of ``task``."""
        self.task = task
