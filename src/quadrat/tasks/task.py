"""The contract of a task: what it makes of labels, of a model's outputs, and of truth and prediction."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from quadrat.metrics import Counts
from quadrat.section import Section
from quadrat.windows import Window

IGNORE = 255
"""The class id of pixels that count nowhere: unlabelled, without data, or outside the AOI."""


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


class Labels(Protocol):
    """A scene's labels on its grid (``quadrat.scenes.labels.Labels`` is one)."""

    def class_ids(self, window: Window, *, all_touched: bool) -> NDArray[np.uint8]:
        """Return (y, x) class ids, IGNORE where unlabelled; the window may reach over the grid's edge."""
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


class Prediction(Protocol):
    """What was predicted of a scene, layer by layer (``quadrat.predictions.Prediction`` is one)."""

    def rows(self, layer: str, window: Window) -> NDArray[Any]:
        """Return a raster layer's values (band, y, x) of a window that lies within the grid."""
        ...

    def features(self, layer: str) -> Features:
        """Return all of a vector layer."""
        ...


class Task(Section, ABC):
    """What is learnt, as parameters with the methods that the stages call, in pipeline order."""

    kind: str
    classes: tuple[Class, ...] = Field(min_length=2, max_length=IGNORE)
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

    @abstractmethod
    def target(self, labels: Labels, window: Window, counted: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return what a chip teaches, by name; ``counted`` (y, x) is True on valid pixels within the AOI."""

    @abstractmethod
    def class_pixels(self, target: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Return how many pixels of each class (K,) a target holds."""

    @abstractmethod
    def no_counts(self) -> Counts:
        """Return counts of nothing, to add to."""

    @abstractmethod
    def chip_counts(self, target: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[np.float32]]) -> Counts:
        """Count a model's outputs of chips against their targets, both by name and (chip, …)."""

    @abstractmethod
    def score(self, truth: Truth, predictions: Sequence[Prediction]) -> Sequence[Counts]:
        """Count each prediction of a scene against the truth, all on what every one of them has predicted.

        Raises PredictionError for a prediction that isn't of this task.
        """

    @abstractmethod
    def label_map(self, labels: Labels, window: Window) -> NDArray[np.uint8]:
        """Return what a picture shows of the labels: class ids (y, x), IGNORE where there is none."""

    @abstractmethod
    def predicted_map(self, prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return what a picture shows of a prediction: class ids (y, x), IGNORE where there is none."""
