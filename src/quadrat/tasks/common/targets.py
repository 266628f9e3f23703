"""The part ``targets`` of a task: labels as arrays."""

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
"""A chip's target arrays by name; for several chips, the first axis is the chip."""


class TaskTargets(TaskPart[AnyTask]):
    """Makes targets from labels, counts labels, and rotates targets, for analyze, chip and train."""

    ragged: ClassVar[frozenset[str]] = frozenset()
    """Names of targets whose first axis has any length; in a batch, they are padded with NaN."""

    @property
    def reach(self) -> float:
        """Distance, px, from which a feature may still label pixels that count; infinite if unknown."""
        return inf

    @abstractmethod
    def label_counts(self, labels: "Labels", window: Window, counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the number of labels of each class (K,) in a strip; over all strips, each label counts once.

        ``counted`` (y, x) is True on valid pixels within the AOI.
        """

    @abstractmethod
    def target(self, labels: "Labels", window: Window, counted: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return the target of a window, by name; ``counted`` (y, x) is True on valid pixels within the AOI."""

    @abstractmethod
    def class_counts(self, target: Target) -> NDArray[np.int64]:
        """Return the number of labels of each class (K,) in a target."""

    @abstractmethod
    def most_labels(self, features: NDArray[Any], selected: NDArray[np.bool_], size: int) -> float:
        """Return the largest possible number of labels of the ``selected`` classes (K,) in a chip of ``size`` px.

        ``features`` (K,) are the numbers of features in its scene; infinite if unknown.
        """

    def is_useful(self, target: Target) -> bool:
        """Return whether a chip with this target is useful for training."""
        return self.task.blanks or bool(self.class_counts(target).any())

    def validation_windows(self, area: Window, size: int) -> list[Window]:
        """Return windows of ``size`` px, in row order, in which each label of ``area`` counts once."""
        return cover(area, size, size, 0)

    @abstractmethod
    def unlabelled(self, chips: int, size: int) -> "dict[str, torch.Tensor]":
        """Return the targets (chip, …) of chips of ``size`` px in which nothing is labelled."""

    @abstractmethod
    def known(self, target: Mapping[str, "torch.Tensor"]) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return what targets (chip, …) say, for losses of the user's own, and a mask: True where a label counts.

        Both have one shape; where the mask is False, the first is 0.
        """

    def turn(
        self, target: Mapping[str, "torch.Tensor"], symmetry: "torch.Tensor", size: int
    ) -> dict[str, "torch.Tensor"]:
        """Return targets (chip, …) of chips of ``size`` px under symmetries of the square (chip,), 0 to 7.

        Pixels turn as the image.
        """
        from quadrat.tasks.common.symmetries import turn

        return {name: turn(values, symmetry) for name, values in target.items()}
