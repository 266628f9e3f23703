"""The contract of a task: what it makes of labels, of a model's outputs, and of truth and prediction."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window
from quadrat.runtime.formats.section import Section
from quadrat.tasks.common.classes import Class, Unit, alike
from quadrat.tasks.common.inputs import Labels, Prediction, Truth
from quadrat.tasks.common.metrics import Counts
from quadrat.tasks.common.outputs import Canvas, Outlines, RasterLayer, Signature, VectorLayer

if TYPE_CHECKING:
    import torch


class Task(Section, ABC):
    """What is learnt, as parameters with the methods that the stages call, in pipeline order."""

    unit: ClassVar[Unit]
    """What it labels and counts. A model serves tasks by it."""
    monitor: ClassVar[str]
    """The metric of ``Counts.summary`` by which weights are chosen; larger is better."""
    ragged: ClassVar[frozenset[str]] = frozenset()
    """Names of targets whose first axis is of any length; in a batch, they are filled up with NaN."""
    blanks: ClassVar[bool] = False
    """Whether a chip without any label teaches: that nothing is there."""
    matches: ClassVar[bool] = False
    """Whether the section ``eval.match`` says when it is right."""
    deepness: ClassVar[str | None] = None
    """What QGIS's plugin Deepness calls a model of this task; None where it can't run one."""

    kind: str
    classes: tuple[Class, ...] = Field(min_length=1, max_length=IGNORE)
    """The classes, in the order of their ids, from 0."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [c.name for c in self.classes]
        aliases = [alias for c in self.classes for alias in c.aliases]
        for what, values in (("class names", names), ("values under 'from'", aliases)):
            twice = sorted(value for value, count in Counter(values).items() if count > 1)
            if twice:
                raise ValueError(f"{what} must differ: {', '.join(twice)}")
        same = alike(names)
        if same:
            raise ValueError(
                f"class names must differ in more than case, for columns of GeoPackage do: {', '.join(same)}"
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The class names, by id."""
        return tuple(c.name for c in self.classes)

    @property
    def aliases(self) -> dict[str, int]:
        """The class id of each value of the labels."""
        return {alias: number for number, c in enumerate(self.classes) for alias in c.aliases}

    @property
    def columns(self) -> list[str]:
        """The names of columns that count each class, by id."""
        return [f"{self.unit}_{name}" for name in self.names]

    @property
    def reach(self) -> float:
        """Px around what counts within which a feature may label some of it; infinite where that isn't known."""
        return inf

    @abstractmethod
    def census(self, labels: Labels, window: Window, counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how many labels of each class (K,) a strip holds: over all strips, each label counts once.

        ``counted`` (y, x) is True on valid pixels within the AOI.
        """

    @abstractmethod
    def target(self, labels: Labels, window: Window, counted: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return what a chip teaches, by name; ``counted`` (y, x) is True on valid pixels within the AOI."""

    @abstractmethod
    def class_counts(self, target: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Return how many labels of each class (K,) a target holds."""

    @abstractmethod
    def most_labels(self, features: NDArray[Any], wanted: NDArray[np.bool_], size: int) -> float:
        """Return how many labels of the ``wanted`` classes (K,) a chip of ``size`` px holds at most.

        ``features`` (K,) are those of its scene, by class; infinite where that isn't known.
        """

    def teaches(self, target: Mapping[str, NDArray[Any]]) -> bool:
        """Return whether a chip with such a target teaches anything."""
        return self.blanks or bool(self.class_counts(target).any())

    def turn(self, target: Mapping[str, "torch.Tensor"], symmetry: int, size: int) -> dict[str, "torch.Tensor"]:
        """Return targets (chip, …) of chips of ``size`` px under a symmetry of the square: pixels turn as the image."""
        from quadrat.tasks.common.symmetries import turn

        return {name: turn(values, symmetry) for name, values in target.items()}

    @abstractmethod
    def layers(self, layers: Any) -> list[RasterLayer | VectorLayer]:
        """Return what predict writes for a scene; ``layers`` is the task's own section of that name."""

    @abstractmethod
    def canvas(self, layers: Any, area: Window, size: int, stride: int, shape: tuple[int, int]) -> Canvas:
        """Return what windows of ``size`` px, ``stride`` px apart, over an ``area`` of a grid are pasted on.

        ``shape`` is the grid's (height, width).
        """

    def validation_stride(self, size: int) -> int:
        """Return the px between validation chips of ``size`` px: all that is labelled counts once."""
        return size

    def margin(self, size: int, stride: int) -> int:
        """Return the px by which windows begin above and left of an area: half of what they overlap."""
        return (size - stride) // 2

    def plain_stride(self, size: int, stride: int, context: int) -> int:
        """Return the stride at which a model that sees ``context`` px (0: not known) loses nothing."""
        return stride

    @abstractmethod
    def no_counts(self, match: Any = None) -> Counts:
        """Return counts of nothing, to add to; ``match`` is the section ``eval.match``."""

    @abstractmethod
    def chip_counts(self, target: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[np.float32]]) -> Counts:
        """Count a model's outputs of chips against their targets, both by name and (chip, …)."""

    @abstractmethod
    def score(self, truth: Truth, predictions: Sequence[Prediction], match: Any = None) -> Sequence[Counts]:
        """Count each prediction of a scene against the truth, all on what every one of them has predicted.

        Raises PredictionError for a prediction that isn't of this task.
        """

    @abstractmethod
    def label_map(self, truth: Truth, prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return what a picture paints of the labels: class ids (y, x), IGNORE where there is none."""

    @abstractmethod
    def predicted_map(self, prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return what a picture paints of a prediction: class ids (y, x), IGNORE where there is none."""

    def outlines(
        self, truth: Truth | None, prediction: Prediction, match: Any = None
    ) -> tuple[Outlines, Outlines] | None:
        """Return what a picture draws of labels and of the prediction; None where it paints maps instead."""
        return None

    @abstractmethod
    def decided(self, outputs: Mapping[str, NDArray[np.float32]]) -> NDArray[Any]:
        """Return what is decided of a model's outputs, to be compared between runtimes."""

    @abstractmethod
    def signature(self) -> Signature:
        """Return what a model of this task gives."""


class ScoredTask(Task):
    """A task whose networks give logits, that its own loss takes and that become scores."""

    @property
    def channels(self) -> int:
        """How many logits a network gives for each pixel or cell."""
        return len(self.classes)

    @property
    def exclusive(self) -> bool:
        """Whether what has one class has no other."""
        return True

    @property
    def pool(self) -> int | None:
        """Side, px, of the square in a window's middle over which scores of single pixels are averaged; None: none."""
        return None

    @abstractmethod
    def loss(
        self, loss: Any, outputs: "torch.Tensor", target: Mapping[str, "torch.Tensor"], class_shares: Sequence[float]
    ) -> "torch.Tensor":
        """Return the loss of logits (chip, channel, …); ``class_shares`` are those of the training labels."""

    @abstractmethod
    def activate(self, outputs: "torch.Tensor") -> dict[str, "torch.Tensor"]:
        """Return a network's outputs by name, from logits."""

    @abstractmethod
    def pixel_classes(self, target: Mapping[str, NDArray[Any]], shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Return what each pixel of chips of ``shape`` teaches a model of single pixels: class ids (chip, y, x)."""

    @abstractmethod
    def labelled_pixels(self, class_counts: NDArray[np.int64], chip_pixels: int) -> int:
        """Return how many pixels of chips of ``chip_pixels`` px have a class, of which there are ``class_counts``."""
