"""Opens labels of all kinds, and combines several by priority."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from quadrat.errors import LabelError
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.labels.class_mapping import ClassMapping
from quadrat.labels.measured import MeasuredPixels
from quadrat.labels.objects import Envelopes, Objects
from quadrat.labels.raster import LabelledPixels, RasterLabels
from quadrat.labels.stac import StacLabels
from quadrat.labels.vector import LabelledAreas, VectorLabels

Ranked = LabelledAreas | LabelledPixels | MeasuredPixels
LabelSource = Annotated[VectorLabels | RasterLabels | StacLabels, Field(discriminator="kind")]


@dataclass(frozen=True)
class Labels:
    """The labels of a scene, in order of priority: at each pixel, the first with a value wins."""

    ranked: tuple[Ranked, ...]
    grid: Grid
    scene: str

    @property
    def area(self) -> Window:
        """All pixels of the grid."""
        return self.grid.area

    def class_ids(self, window: Window, *, all_touched: bool) -> NDArray[np.uint8]:
        """Return (y, x) class ids, IGNORE if there is none; the window may reach beyond the grid."""
        first, *others = self.ranked
        ids = first.class_ids(window, all_touched=all_touched)
        for other in others:
            unlabelled = ids == IGNORE
            if unlabelled.any():
                ids = np.where(unlabelled, other.class_ids(window, all_touched=all_touched), ids)
        return ids

    def values(self, window: Window) -> NDArray[np.float32]:
        """Return (y, x) values, NaN where there is none; raise LabelError for labels that have classes instead."""
        measured = [one for one in self.ranked if isinstance(one, MeasuredPixels)]
        if len(measured) < len(self.ranked):
            raise LabelError(
                "labels with classes have no values",
                self.scene,
                expected="labels of the kind 'raster' with values: numbers",
                got="labels of another kind",
                hint="give the scene labels that are a raster of values (`gdal_rasterize -a` makes one of a field)",
            )
        first, *others = (one.values(window) for one in measured)
        for other in others:
            first = np.where(np.isnan(first), other, first)
        return first

    def objects(self, window: Window) -> Objects:
        """Return the features of all labels that meet the window; raise LabelError for labels without features."""
        found = [one.objects(window) for one in self.ranked]
        some = [objects for objects in found if objects is not None]
        if len(some) < len(found):
            raise LabelError(
                "labels of pixels have no objects",
                self.scene,
                expected="labels of the kind 'vector'",
                got="labels of the kind 'raster'",
                hint="draw the objects as features of a vector file (`gdal_polygonize` makes polygons of a raster)",
            )
        return Objects(
            np.concatenate([objects.geometry for objects in some]),
            np.concatenate([objects.class_ids for objects in some]),
        )

    @property
    def drawn(self) -> bool:
        """Whether all labels are features, so that there are ``objects``."""
        return all(isinstance(one, LabelledAreas) for one in self.ranked)

    def envelopes(self, window: Window) -> Envelopes:
        """Return the upright boxes of all objects that overlap the window; raise LabelError as ``objects``."""
        return self._envelopes.meeting(window)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Warnings: inaccurate places, and features that label nothing; of boxes, if they were read, bad ones too."""
        asked = "_envelopes" in vars(self)
        each = tuple(remark for one in self.ranked for remark in one.remarks + one.box_remarks * asked)
        return each + self._repeated() if asked else each

    def _repeated(self) -> tuple[str, ...]:
        """Return a warning about objects with the box of another of their class."""
        kept = self._envelopes.class_ids != IGNORE
        boxes = np.column_stack([self._envelopes.bounds[kept].round(1), self._envelopes.class_ids[kept]])
        copies = len(boxes) - len(np.unique(boxes, axis=0))
        if not copies:
            return ()
        what = "objects are" if copies > 1 else "object is"
        told = f"{copies} {what} in the labels once more, with the same box and class: each counts, and one detection"
        return (f"scene {self.scene}: {told} finds only one of them; delete the copies",)

    @cached_property
    def _envelopes(self) -> Envelopes:
        return Envelopes.around(self.objects(self.grid.area), self.grid.area)


@contextmanager
def open_labels(
    sources: Sequence[LabelSource], grid: Grid, class_mapping: ClassMapping, scene: str
) -> Iterator[Labels | None]:
    """Open ``sources``, in order of priority, on the scene's grid; None without sources.

    Raises LabelError for invalid labels, and labels off the image.
    """
    ranked: list[AbstractContextManager[Ranked]] = [source.open(grid, class_mapping, scene) for source in sources]
    with ExitStack() as files:
        yield Labels(tuple(files.enter_context(one) for one in ranked), grid, scene) if ranked else None
