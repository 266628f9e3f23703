"""What the parts of a task have in common: each works by the parameters of its task."""

from abc import ABC
from typing import Generic, TypeVar

from quadrat.tasks.common.section import TaskSection

AnyTask = TypeVar("AnyTask", bound=TaskSection)


class TaskPart(ABC, Generic[AnyTask]):
    """A part of a task."""

    def __init__(self, task: AnyTask) -> None:
        """Work by the parameters of ``task``."""
        self.task = task
