"""What a task is given: a scene's labels, and what was predicted of it."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.outputs import Features, Geometries


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
    def background(self) -> int:
        """The class id of all that the labels say nothing of; IGNORE where that is unlabelled."""
        ...

    def class_ids(self, window: Window, *, all_touched: bool) -> NDArray[np.uint8]:
        """Return (y, x) class ids, IGNORE where unlabelled; the window may reach over the grid's edge."""
        ...

    def objects(self, window: Window) -> Objects | None:
        """Return what meets the window, in the file's order; None of a raster, which has no objects."""
        ...


class Labels(Protocol):
    """A scene's labels on its grid (``quadrat.labels.labels.Labels`` is one)."""

    @property
    def area(self) -> Window:
        """All pixels of the grid."""
        ...

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
    """What was predicted of a scene, layer by layer (``quadrat.prediction.reader.Prediction`` is one)."""

    def class_ids(self, layer: str, window: Window, names: Sequence[str]) -> NDArray[np.uint8]:
        """Return a raster layer's class ids (y, x), IGNORE where there is none, of a window that lies within the grid.

        Raises PredictionError for what is of other classes than ``names``.
        """
        ...

    def features(self, layer: str, window: Window | None = None) -> Features:
        """Return all of a vector layer, or what meets the window."""
        ...
