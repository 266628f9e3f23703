"""The contract of a task: what it makes of labels, of a model's outputs, and of truth and prediction."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from quadrat.metrics import Counts
from quadrat.section import Section
from quadrat.windows import Window

if TYPE_CHECKING:
    import torch

IGNORE = 255
"""The class id of what counts nowhere: unlabelled, dropped, without data, or outside the AOI."""

Unit = Literal["px", "cells", "boxes"]
"""What a task labels and counts; the names of columns begin with it."""

Geometries = NDArray[np.object_]
"""Of shapely, in pixel coordinates of a scene's grid: x = column, y = row, corners."""


class Class(Section):
    """A class of a task; its id is its place in the list."""

    name: str = Field(min_length=1)
    """Its name, in all outputs."""
    color: str = Field(pattern="^#[0-9a-fA-F]{6}$")
    """Its colour in layers and pictures, as hexadecimal red, green, blue."""
    aliases: tuple[str, ...] = Field(alias="from")
    """Values of the labels that mean this class: of their field, or a raster's numbers or colours. Empty where only
    ``default`` or ``outside`` of labels name it."""

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as (red, green, blue), 0 to 255."""
        red, green, blue = bytes.fromhex(self.color[1:])
        return red, green, blue


@dataclass(frozen=True)
class RasterLayer:
    """A raster that predict writes for a scene, on the scene's grid."""

    name: str
    dtype: str
    bands: tuple[str, ...]
    nodata: int
    scale: float = 1.0
    classes: tuple[Class, ...] | None = None
    """Set where values are class ids: the colour table and the names."""


@dataclass(frozen=True)
class VectorLayer:
    """A vector file that predict writes for a scene; ``file`` is its name, whose ending is its format."""

    name: str
    file: str


@dataclass(frozen=True)
class Rows:
    """Finished rows of a raster layer: ``values`` (band, y, x) from row ``row`` and column ``col`` of the grid on."""

    layer: str
    row: int
    col: int
    values: NDArray[Any]


@dataclass(frozen=True)
class Features:
    """Finished features of a vector layer: geometries in pixel coordinates (x = column, y = row), and fields."""

    layer: str
    geometry: NDArray[np.object_]
    fields: Mapping[str, NDArray[Any]]


class WrittenLayers(Section):
    """What predict writes, of a task: the section ``predict.layers``."""

    kind: str

    def plain(self) -> Self:
        """Return the least of them that eval can score."""
        return self

    def full(self) -> Self:
        """Return all of them that there can be."""
        return self

    def named(self) -> Sequence[str]:
        """Return the classes that the section names."""
        return ()


class Canvas(Protocol):
    """Takes outputs of windows in row order and gives what is finished; see ``quadrat.canvas`` for the blending."""

    def paste(
        self, window: Window, outputs: Mapping[str, NDArray[np.float32]], valid: NDArray[np.bool_]
    ) -> Iterator[Rows | Features]:
        """Take a window's outputs (no chip axis); ``valid`` (y, x) is False where nothing is to be predicted."""
        ...

    def close(self) -> Iterator[Rows | Features]:
        """Give what is left."""
        ...


class Objects(Protocol):
    """Features of vector labels, whole, also where they reach over the window or the grid."""

    @property
    def geometry(self) -> Geometries:
        """(object,) polygons or multipolygons, valid; points and lines as the areas of their widths."""
        ...

    @property
    def class_ids(self) -> NDArray[np.uint8]:
        """(object,) class ids, IGNORE for what the catalog drops on purpose."""
        ...


class Envelopes(Protocol):
    """Upright boxes around features of vector labels, of what of them lies on the grid."""

    @property
    def bounds(self) -> NDArray[np.float64]:
        """(object, 4) left, top, right, bottom, in pixel coordinates of the grid."""
        ...

    @property
    def shares(self) -> NDArray[np.float64]:
        """(object,) the share of the whole box's area that lies on the grid."""
        ...

    @property
    def class_ids(self) -> NDArray[np.uint8]:
        """(object,) class ids, IGNORE for what the catalog drops on purpose."""
        ...


class LabelPart(Protocol):
    """One of a scene's labels: a vector file or a raster."""

    @property
    def outside(self) -> int:
        """The class id of all that the labels say nothing of; IGNORE where that is unlabelled."""
        ...

    def class_ids(self, window: Window, *, all_touched: bool) -> NDArray[np.uint8]:
        """Return (y, x) class ids, IGNORE where unlabelled; the window may reach over the grid's edge."""
        ...

    def objects(self, window: Window) -> Objects | None:
        """Return what meets the window, in the file's order; None of a raster, which has no objects."""
        ...


class Labels(Protocol):
    """A scene's labels on its grid (``quadrat.scenes.labels.Labels`` is one)."""

    @property
    def ranked(self) -> Sequence[LabelPart]:
        """All of them, in order of priority; at least one."""
        ...

    def class_ids(self, window: Window, *, all_touched: bool) -> NDArray[np.uint8]:
        """Return (y, x) class ids, IGNORE where unlabelled; the window may reach over the grid's edge."""
        ...

    def objects(self, window: Window) -> Objects:
        """Return the objects of all of them that meet the window; raise LabelError where one is a raster."""
        ...

    def envelopes(self, window: Window) -> Envelopes:
        """Return the boxes of all objects that share area with the window; raise LabelError where one is a raster."""
        ...


class Truth(Protocol):
    """What is there, in a scene that was predicted."""

    @property
    def labels(self) -> Labels:
        """The scene's labels."""
        ...

    def windows(self) -> Iterator[Window]:
        """Give full-width windows, top to bottom, that together hold all that counts."""
        ...

    def inside(self, window: Window) -> NDArray[np.bool_]:
        """Return (y, x), True within the AOI."""
        ...

    def counted(self, window: Window) -> NDArray[np.bool_]:
        """Return (y, x), True within the AOI where the image has a value."""
        ...


class Prediction(Protocol):
    """What was predicted of a scene, layer by layer (``quadrat.predictions.Prediction`` is one)."""

    def rows(self, layer: str, window: Window) -> NDArray[Any]:
        """Return a raster layer's values (band, y, x) of a window that lies within the grid."""
        ...

    def features(self, layer: str, window: Window | None = None) -> Features:
        """Return all of a vector layer, or what meets the window."""
        ...


@dataclass(frozen=True)
class Outlines:
    """What a picture draws over the image: objects, and whether each is right (found, by the other side)."""

    geometry: Geometries
    class_ids: NDArray[np.uint8]
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class Signature:
    """What comes out of a task's models, for the README of a bundle."""

    says: str
    """The end of the sentence "It takes windows of … bands, raw values as stored, and gives …"."""
    outputs: Mapping[str, str]
    """Each output's axes and meaning, by name; the first is what the example looks at."""
    decide: str
    """A line of Python that makes a decision of the outputs, which are variables of their names."""
    windows: str = ""
    """What else there is to know of windows, in sentences."""


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
            twice = sorted({v for v in values if values.count(v) > 1})
            if twice:
                raise ValueError(f"{what} must differ: {', '.join(twice)}")
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

    def turn(self, target: Mapping[str, "torch.Tensor"], symmetry: int, size: int) -> dict[str, "torch.Tensor"]:
        """Return targets (chip, …) of chips of ``size`` px under a symmetry of the square: pixels turn as the image."""
        from quadrat.symmetries import turn

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
        self, loss: Any, outputs: "torch.Tensor", target: Mapping[str, "torch.Tensor"], shares: Sequence[float]
    ) -> "torch.Tensor":
        """Return the loss of logits (chip, channel, …); ``shares`` are the classes' shares of the training labels."""

    @abstractmethod
    def activate(self, outputs: "torch.Tensor") -> dict[str, "torch.Tensor"]:
        """Return a network's outputs by name, from logits."""

    @abstractmethod
    def pixel_classes(self, target: Mapping[str, NDArray[Any]], shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Return what each pixel of chips of ``shape`` teaches a model of single pixels: class ids (chip, y, x)."""

    @abstractmethod
    def labelled_pixels(self, class_counts: NDArray[np.int64], chip_pixels: int) -> int:
        """Return how many pixels of chips of ``chip_pixels`` px have a class, of which there are ``class_counts``."""
