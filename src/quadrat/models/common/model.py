"""The contract of everything that learns: parameters that fit, restore and export themselves."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from quadrat.geo.sources.bands import Band, dates_of
from quadrat.geo.statistics.band_statistics import BandStatistics
from quadrat.runtime.formats.section import Section
from quadrat.tasks import Loss
from quadrat.tasks.common.classes import Unit
from quadrat.tasks.common.section import TaskSection

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[Any]
"""Raw values as stored, (chip, band, y, x), in the bands' own dtype and unit; of time series all bands of the first
date, then all of the next."""

Outputs = dict[str, NDArray[np.float32]]
"""What a model says of chips, by name, each with the chips as its first axis: what ``TaskLoss.signature`` tells."""

Pooling = Literal["mean", "max", "attention"]
"""How a network makes one of what it sees on several dates (``quadrat.models.common.dates``)."""

Predictor = Callable[[Pixels], Outputs]
"""A model ready to predict: raw pixels in, outputs out; the same call for torch, scikit-learn and onnxruntime."""


class DevicePredictor(ABC):
    """A predictor on a device of its own, which pixels may reach, and outputs leave, as tensors of that device."""

    def __init__(self) -> None:
        """Work for one scene at a time."""
        self.turn = RLock()
        """Held while the device works."""

    @abstractmethod
    def __call__(self, pixels: Pixels) -> Outputs:
        """Return outputs on the processor."""

    @abstractmethod
    def tensors(self, pixels: "Tensor") -> "dict[str, Tensor]":
        """Return outputs (float32) of raw pixels (chip, band, y, x), both on the device."""

    @abstractmethod
    def windows_at_once(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> int:
        """Return how many windows of ``shape`` (band, y, x) are to go through it at once."""


@dataclass(frozen=True)
class Inputs:
    """What a model takes: the bands in order, and each one's statistics over the training pixels (raw values)."""

    bands: tuple[Band, ...]
    """Of time series all bands of the first date, then all of the next."""
    statistics: tuple[BandStatistics, ...]
    """Of each band, which all its dates share."""

    def __post_init__(self) -> None:
        """Refuse statistics of other bands."""
        names = [s.band for s in self.statistics]
        if [band.name for band in self.bands] != names * max(1, self.dates):
            raise ValueError("statistics and bands differ in names or order")

    @property
    def dates(self) -> int:
        """How many dates there are; 0 where the images have none."""
        return len(dates_of(self.bands))


class Samples(Protocol):
    """Chips of one split, in a fixed order."""

    def __len__(self) -> int:
        """Return the number of chips."""
        ...

    def read(self, indices: NDArray[np.intp]) -> tuple[Pixels, dict[str, NDArray[Any]]]:
        """Return the chips' pixels (chip, band, y, x), raw, and their targets, by name, (chip, …)."""
        ...

    def class_counts(self) -> NDArray[np.int64]:
        """Return how many labels of each class (K,) the chips hold together."""
        ...


class Augment(Section):
    """What is done to whole batches of training chips, on the device, at random for each chip."""

    flip_rotate: bool = False
    """Turn and mirror: one of the eight symmetries of the square."""
    gain: float = Field(default=0, ge=0)
    """Standard deviation of the share by which a chip's band, normalised, is made stronger or weaker."""
    offset: float = Field(default=0, ge=0)
    """Standard deviation of what is added to a chip's band, normalised."""


class Train(Section):
    """How a network is trained, whatever the network: the section ``train``."""

    loss: Loss
    """What training minimises."""
    augment: Augment = Augment()
    """What training chips undergo at random."""
    weight_decay: float = Field(default=0, ge=0)
    """AdamW's decoupled decay of weights."""
    warmup: float = Field(default=0, ge=0, le=1)
    """Share of all steps in which the learning rate rises to ``lr``; then it falls to 0 along a cosine."""
    gradient_clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient; null for any."""
    ema_decay: float = Field(default=0, ge=0, lt=1)
    """Share of itself that the running mean of the weights keeps at each step; it is what is validated and stored."""
    patience: int | None = Field(default=None, ge=1)
    """Epochs without a better validation metric after which training ends; null for all ``epochs``."""


Epoch = Mapping[str, float | int | None]
"""A row of the curves: what was measured of an epoch, by name."""


@dataclass(frozen=True)
class Fitted:
    """What learning gives: weights by name, metrics of the fit, and a row for each epoch of the curves."""

    weights: Mapping[str, NDArray[Any]]
    metrics: Mapping[str, float | int | None]
    history: Sequence[Epoch]


def unwatched(_: Fitted) -> None:
    """Take no note."""


@dataclass(frozen=True)
class Recipe:
    """The sections that say how long and how fast a model learns, and who is told after each epoch."""

    seed: int
    lr: float
    epochs: int
    batch_size: int
    train: Train
    watch: Callable[[Fitted], None] = field(default=unwatched, repr=False, compare=False)
    """Is told what a model that learns by epochs has learnt so far, but for its weights; changes no result."""


@dataclass(frozen=True)
class Sizes:
    """What goes through a model at once."""

    chip: int
    """Height and width of a chip, px."""
    batch: int
    """Chips in a training step."""
    window: int
    """Height and width of a window that is predicted, px."""


class Kind(Section, ABC):
    """The parameters of a kind of what learns; the subclasses are the kinds.

    ``weights`` is all that a fitted model knows beyond its parameters, the task and the inputs: arrays by name,
    as they are stored in ``model.safetensors``. Raw pixels go in at every door; normalising is the model's part.
    """

    units: ClassVar[frozenset[Unit]]
    """What it learns to label: the tasks that it serves."""

    kind: str

    @classmethod
    def serves(cls, task: TaskSection) -> bool:
        """Return whether it learns such a task."""
        return task.unit in cls.units

    @property
    @abstractmethod
    def context(self) -> int:
        """How many px around a pixel its features reach, where that is few and known; else 0."""

    @property
    def divisor(self) -> int:
        """The sides of windows must be multiples of this, px."""
        return 1

    def check(self, task: TaskSection, inputs: Inputs, sizes: Sizes) -> None:
        """Raise ModelError where no such model can be set up, or takes such chips and windows.

        Nothing is learnt, and no weights are fetched.
        """

    @abstractmethod
    def fit(
        self,
        training: Samples,
        validation: Samples,
        task: TaskSection,
        inputs: Inputs,
        recipe: Recipe,
        checkpoint: Path,
    ) -> Fitted:
        """Learn from ``training``; ``checkpoint`` is a folder of this fit alone, to resume from after a kill."""

    @abstractmethod
    def restore(self, weights: Mapping[str, NDArray[Any]], task: TaskSection, inputs: Inputs) -> Predictor:
        """Return the fitted model, ready to predict by the library that it was fitted with."""

    def served(self, weights: Mapping[str, NDArray[Any]], task: TaskSection, inputs: Inputs) -> Predictor:
        """Return the fitted model, ready to predict many windows: the same but for rounding, if sooner."""
        return self.restore(weights, task, inputs)


class Model(Kind):
    """A kind that can be bundled: one that exports itself. What can't serves as a baseline alone."""

    @abstractmethod
    def onnx(self, weights: Mapping[str, NDArray[Any]], task: TaskSection, inputs: Inputs) -> bytes:
        """Return the fitted model as a serialised ONNX graph.

        Input ``pixels``: float32 (chip, band, y, x), raw values, all but ``band`` dynamic. Outputs: as ``Outputs``.
        """
