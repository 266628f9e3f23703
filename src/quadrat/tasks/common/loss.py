"""The part ``loss`` of a task: what a network's outputs mean, and how wrong they are."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quadrat.tasks.common.outputs import Signature
from quadrat.tasks.common.part import AnyTask, TaskPart
from quadrat.tasks.common.targets import Target

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a model said of labelled things."""

    truth: NDArray[np.uint8]
    """Class ids (…), IGNORE where unknown; or of classes that don't exclude each other (…, class): 1, 0 or IGNORE."""
    scores: NDArray[np.float32]
    """(…, class)."""


class TaskLoss(TaskPart[AnyTask]):
    """Says what comes out of the task's models: for all that runs or bundles one."""

    deepness: ClassVar[str | None] = None
    """What QGIS's plugin Deepness calls a model of this task; None where it can't run one."""
    class_axis: ClassVar[int] = 1
    """The axis of ``scores`` along which the classes are."""
    sets: ClassVar[bool] = False
    """Whether layers can hold sets of classes (``Calibration.least``)."""
    stac: ClassVar[str]
    """What STAC's extension MLM calls the task."""
    hub: ClassVar[str | None] = None
    """What Hugging Face's model hub calls the task; None where it has no name for it."""

    def evidence(self, target: Target, outputs: Mapping[str, NDArray[np.float32]]) -> Evidence | None:
        """Return what a model's outputs (chip, …) say of labels (chip, …); None for tasks without probabilities."""
        return None

    @abstractmethod
    def decided(self, outputs: Mapping[str, NDArray[np.float32]]) -> NDArray[Any]:
        """Return what is decided of a model's outputs, to be compared between runtimes."""

    @abstractmethod
    def signature(self) -> Signature:
        """Return what a model of this task gives."""


class LogitLoss(TaskLoss[AnyTask]):
    """The same of a task whose networks give logits, which its own loss takes and which become scores."""

    @property
    def channels(self) -> int:
        """How many logits a network gives for each pixel or cell."""
        return len(self.task.classes)

    def class_weights(self, loss: Any, class_shares: Sequence[float]) -> list[float]:
        """Return the weights (K,) of classes in the loss; ``class_shares`` (K,) are those of the training labels.

        ``loss`` is the section ``train.loss``.
        """
        del loss
        return [1.0] * len(class_shares)

    @abstractmethod
    def loss(
        self, loss: Any, outputs: "torch.Tensor", target: Mapping[str, "torch.Tensor"], class_weights: "torch.Tensor"
    ) -> "torch.Tensor":
        """Return the loss (a scalar) of logits (chip, channel, …); ``loss`` is the section ``train.loss``.

        ``class_weights`` (K,) are those that the method of this name tells. The processor never waits for a value, so
        that a GPU is not kept waiting: there is no branch on values, and nothing is picked by them.
        """

    @abstractmethod
    def activate(self, outputs: "torch.Tensor") -> dict[str, "torch.Tensor"]:
        """Return a network's outputs by name, from logits."""


class ClassLoss(LogitLoss[AnyTask]):
    """The same of a task of classes, which models of single pixels can learn too."""

    @property
    def pool(self) -> int | None:
        """Side, px, of the square in a window's middle over which scores of single pixels are averaged; None: none."""
        return None

    def class_weights(self, loss: Any, class_shares: Sequence[float]) -> list[float]:
        """Return the weights that ``loss`` gives by name, 1 of classes that it doesn't name; else the balanced ones."""
        if loss.class_weights is not None:
            return [loss.class_weights.get(name, 1.0) for name in self.task.names]
        return self.balanced(loss, class_shares)

    @abstractmethod
    def balanced(self, loss: Any, class_shares: Sequence[float]) -> list[float]:
        """Return the weights (K,) of classes that follow from their shares (K,) of the training labels."""

    @abstractmethod
    def pixel_classes(self, target: Target, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Return what a model of single pixels learns from chips of ``shape``: class ids (chip, y, x), or IGNORE."""

    @abstractmethod
    def labelled_pixels(self, class_counts: NDArray[np.int64], chip_pixels: int) -> int:
        """Return how many pixels of chips of ``chip_pixels`` px have a class, of which there are ``class_counts``."""
