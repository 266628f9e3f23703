"""Outputs of a task: layers and their pieces, outlines for pictures, and the description for a bundle."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.geometry.parts import Geometries
from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.classes import Class

SCORE_STEPS = 250
"""Scores are stored as whole numbers from 0 to this many."""

CONFIDENCE = ("confidence", "uncalibrated")
"""Bands of the layer ``confidence``."""

SETS = "conformal"
"""The layer of sets of classes: a band per class, 1 where it is in the set, and one for sets of several classes."""

PROMISE = "PROMISED_COVERAGE"
"""What the layer of sets says of itself: the share of sets that hold the truth."""


@dataclass(frozen=True)
class RasterLayer:
    """A raster that predict writes for a scene, on the scene's grid."""

    name: str
    dtype: str
    bands: tuple[str, ...]
    nodata: float
    """NaN for layers of floats."""
    scale: float = 1.0
    classes: tuple[Class, ...] | None = None
    """The classes, for the colour table and the names, if values are class ids."""
    quick: bool = False
    """Whether it is written fast, with light compression and without overviews: to be counted rather than looked at."""
    about: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What its file says of itself, by name."""


@dataclass(frozen=True)
class VectorLayer:
    """A vector file that predict writes for a scene; the ending of its name ``file`` gives the format."""

    name: str
    file: str
    classes: tuple[Class, ...] = ()
    """The classes of the field ``class``, for the style; none for no style."""
    several: bool = False
    """Whether a feature may have several classes: the field lists them."""
    threshold: float | None = None
    """The score from which features are shown at first; None for all."""


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
    file: object = None
    """The file that they were read from."""


class Canvas(Protocol):
    """Takes outputs of windows in row order and gives finished pieces; see ``geo.grids.tiling`` for the blending."""

    def paste(
        self, window: Window, outputs: Mapping[str, NDArray[np.float32]], valid: NDArray[np.bool_]
    ) -> Iterator[Rows | Features]:
        """Take a window's outputs (no chip axis); ``valid`` (y, x) is False where nothing is to be predicted."""
        ...

    def close(self) -> Iterator[Rows | Features]:
        """Give the remaining pieces."""
        ...


@dataclass(frozen=True)
class Outlines:
    """Objects that a picture draws over the image, and whether each is correct (matched by the other side)."""

    geometry: Geometries
    """In pixel coordinates of the scene's grid: x = column, y = row, corners."""
    class_ids: NDArray[np.uint8]
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class Signature:
    """Describes the outputs of a task's models, for the README of a bundle."""

    says: str
    """The end of the sentence "It takes windows of … bands, raw values as stored, and gives …"."""
    outputs: Mapping[str, str]
    """Each output's axes and meaning, by name; the example uses the first."""
    decide: str
    """Lines of Python that compute the decision from the outputs, which are variables with their names."""
    axes: Mapping[str, tuple[int | str, ...]]
    """Each output's axes by its name, the window's first: lengths, or names (``window``, ``y``, ``x``, or others);
    equal names mean equal lengths."""
    windows: str = ""
    """Further sentences about windows."""
    classes: str = "Classes, in the order of their axis"
    """The title of the table of classes."""

    def fits(self, outputs: Mapping[str, NDArray[Any]], pixels: tuple[int, ...]) -> bool:
        """Return whether ``outputs`` have these names and axes for pixels of shape ``pixels`` (window, band, y, x)."""
        if outputs.keys() != self.axes.keys():
            return False
        lengths = {"window": pixels[0], "y": pixels[2], "x": pixels[3]}
        for name, axes in self.axes.items():
            if outputs[name].ndim != len(axes):
                return False
            for axis, length in zip(axes, outputs[name].shape, strict=True):
                if length != (lengths.setdefault(axis, length) if isinstance(axis, str) else axis):
                    return False
        return True
