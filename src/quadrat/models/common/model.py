"""The interface of all kinds of model: parameters that fit, restore and export a model."""

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
from quadrat.plugins.section import Plugin
from quadrat.runtime.formats.section import Section
from quadrat.tasks import Loss
from quadrat.tasks.common.calibration import Calibration
from quadrat.tasks.common.classes import Unit
from quadrat.tasks.common.section import TaskSection

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[Any]
"""Raw values as stored, (chip, band, y, x), in the bands' own dtype and unit; of time series all bands of the first
date, then all of the next."""

Outputs = dict[str, NDArray[np.float32]]
"""A model's outputs by name, with the chips as the first axis; ``TaskLoss.signature`` describes them."""

Pooling = Literal["mean", "max", "attention"]
"""How a network combines several dates (``quadrat.models.common.dates``)."""

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
    """A model's inputs: the bands in order, and their statistics over the training pixels (raw values)."""

    bands: tuple[Band, ...]
    """In time series: all bands of the first date, then all of the next."""
    statistics: tuple[BandStatistics, ...]
    """One per band; all dates of a band share it."""

    def __post_init__(self) -> None:
        """Raise ValueError for statistics of other bands."""
        names = [s.band for s in self.statistics]
        if [band.name for band in self.bands] != names * max(1, self.dates):
            raise ValueError("statistics and bands differ in names or order")

    @property
    def dates(self) -> int:
        """The number of dates; 0 if the images have none."""
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
        """Return the number of labels of each class (K,) in all chips."""
        ...


class PluginAugmentation(Plugin):
    """An augmentation of your own: see [Plugins](plugins.md)."""

    key: ClassVar[str] = "train.augment.plugin"
    role: ClassVar[str] = "augmentation"


class Augment(Section):
    """Random changes of training chips, drawn for each chip."""

    flip_rotate: bool = False
    """Rotate and mirror by one of the eight symmetries of the square."""
    plugin: PluginAugmentation | None = None
    """An augmentation of your own, after the symmetries and before gain and offset; null for none."""
    gain: float = Field(default=0, ge=0)
    """Standard deviation of a random factor around 1 for each normalised band of a chip."""
    offset: float = Field(default=0, ge=0)
    """Standard deviation of a random summand for each normalised band of a chip."""


class Train(Section):
    """How any network is trained: the section ``train``."""

    loss: Loss
    """The loss function of training."""
    augment: Augment = Augment()
    """Random changes of training chips."""
    weight_decay: float = Field(default=0, ge=0)
    """AdamW's decoupled weight decay."""
    encoder_lr: float = Field(default=1, gt=0)
    """The encoder's learning rate, as a factor of ``lr``."""
    warmup: float = Field(default=0, ge=0, le=1)
    """Share of all steps in which the learning rate rises to ``lr``; then it falls to 0 along a cosine."""
    gradient_clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient; null for no limit."""
    ema_decay: float = Field(default=0, ge=0, lt=1)
    """Decay per step of the exponential moving average of the weights, which is validated and stored; 0 for none."""
    patience: int | None = Field(default=None, ge=1)
    """Epochs without a better validation metric after which training ends; null for all ``epochs``."""


Epoch = Mapping[str, float | int | None]
"""A row of the curves: the metrics of an epoch, by name."""


@dataclass(frozen=True)
class Fitted:
    """The result of training: weights by name, metrics of the fit, and a row of the curves per epoch."""

    weights: Mapping[str, NDArray[Any]]
    metrics: Mapping[str, float | int | None]
    history: Sequence[Epoch]
    calibration: Calibration | None = None
    """None before it is learnt, and for tasks without probabilities."""


def unwatched(_: Fitted) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Recipe:
    """The sections that control training, and a callback after each epoch."""

    seed: int
    lr: float
    epochs: int
    batch_size: int
    train: Train
    watch: Callable[[Fitted], None] = field(default=unwatched, repr=False, compare=False)
    """Called after each epoch with the metrics and history so far, without weights; changes no result."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model's batches and windows."""

    chip: int
    """Height and width of a chip, px."""
    batch: int
    """Chips in a training step."""
    window: int
    """Height and width of a window that is predicted, px."""
    trains: bool = True
    """Whether there are training steps; without, a network's weights must be whole."""


class Kind(Section, ABC):
    """The parameters of a kind of model; the subclasses are the kinds.

    ``weights`` is everything that a trained model has beside its parameters, the task and the inputs: arrays by name,
    as stored in ``model.safetensors``. All methods take raw pixels; the model normalises them.
    """

    units: ClassVar[frozenset[Unit]]
    """The kinds of task that it can learn."""

    kind: str

    @classmethod
    def serves(cls, task: TaskSection) -> bool:
        """Return whether it can learn this task."""
        return task.unit in cls.units

    @property
    @abstractmethod
    def context(self) -> int:
        """Radius of its receptive field, px, if it is known and small; else 0."""

    @property
    def divisor(self) -> int:
        """The sides of windows must be multiples of this, px."""
        return 1

    @property
    def files(self) -> tuple[Path, ...]:
        """Files, beside the chips, on which the fit depends."""
        return ()

    def own_inputs(self, inputs: Inputs) -> Inputs:
        """Return ``inputs``, of the training pixels, with the statistics that this model normalises by."""
        return inputs

    def check(self, task: TaskSection, inputs: Inputs, sizes: Sizes) -> None:
        """Raise ModelError if this model can't be built, or can't take such chips and windows.

        Nothing is trained, and no weights are downloaded.
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
        """Return the trained model, ready to predict with the library that trained it."""

    def served(self, weights: Mapping[str, NDArray[Any]], task: TaskSection, inputs: Inputs) -> Predictor:
        """Return the trained model in its fastest form for many windows; outputs may differ by rounding."""
        return self.restore(weights, task, inputs)


class Model(Kind):
    """A kind that exports itself and so can be bundled; other kinds are baselines only."""

    @abstractmethod
    def onnx(self, weights: Mapping[str, NDArray[Any]], task: TaskSection, inputs: Inputs) -> bytes:
        """Return the trained model as a serialised ONNX graph.

        Input ``pixels``: float32 (chip, band, y, x), raw values, all axes except ``band`` dynamic. Outputs: as
        ``Outputs``.
        """
