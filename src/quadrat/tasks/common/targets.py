"""The part ``targets`` of a task: what labels say, as arrays."""

from abc import abstractmethod
from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.windows import Window, cover
from quadrat.tasks.common.part import AnyTask, TaskPart

if TYPE_CHECKING:
    import torch

    from quadrat.labels.labels import Labels

Target = Mapping[str, NDArray[Any]]
"""What is known of a chip, by name; of several chips, each array with the chips as its first axis."""


class TaskTargets(TaskPart[AnyTask]):
    """Makes targets of labels, counts their labels, and turns them: for analyze, chip and train."""

    ragged: ClassVar[frozenset[str]] = frozenset()
    """Names of targets whose first axis is of any length; in a batch, they are filled up with NaN."""

    @property
    def reach(self) -> float:
        """Px around what counts within which a feature may label some of it; infinite where that isn't known."""
        return inf

    @abstractmethod
    def label_counts(self, labels: "Labels", window: Window, counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how many labels of each class (K,) a strip holds: over all strips, each label counts once.

        ``counted`` (y, x) is True on valid pixels within the AOI.
        """

    @abstractmethod
    def target(self, labels: "Labels", window: Window, counted: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return the target of a window, by name; ``counted`` (y, x) is True on valid pixels within the AOI."""

    @abstractmethod
    def class_counts(self, target: Target) -> NDArray[np.int64]:
        """Return how many labels of each class (K,) a target holds."""

    @abstractmethod
    def most_labels(self, features: NDArray[Any], wanted: NDArray[np.bool_], size: int) -> float:
        """Return how many labels of the ``wanted`` classes (K,) a chip of ``size`` px holds at most.

        ``features`` (K,) are those of its scene, by class; infinite where that isn't known.
        """

    def is_useful(self, target: Target) -> bool:
        """Return whether a chip with such a target is worth learning from."""
        return self.task.blanks or bool(self.class_counts(target).any())

    def validation_windows(self, area: Window, size: int) -> list[Window]:
        """Return windows of ``size`` px, in row order, in which all that is labelled in ``area`` counts once."""
        return cover(area, size, size, 0)

    def turn(self, target: Mapping[str, "torch.Tensor"], symmetry: int, size: int) -> dict[str, "torch.Tensor"]:
        """Return targets (chip, …) of chips of ``size`` px under a symmetry of the square: pixels turn as the image."""
        from quadrat.tasks.common.symmetries import turn

        return {name: turn(values, symmetry) for name, values in target.items()}
