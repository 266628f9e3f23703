"""A scene: an image, and optionally labels and an area of interest, on one grid."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from quadrat.errors import AOIError, ImageError, LabelError, QuadratError
from quadrat.geo.files.file_errors import library_errors_as
from quadrat.geo.grids.class_ids import counting
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.tiling import Cut, cut, reach
from quadrat.geo.grids.windows import Window
from quadrat.labels.class_mapping import ClassMapping
from quadrat.labels.labels import Labels, LabelSource, open_labels
from quadrat.scenes.aoi import AOI, open_aoi
from quadrat.scenes.image import Image

if TYPE_CHECKING:
    from quadrat.geo.reading.open_image import Raster, Strip

LONGEST_ID = 255 - len("-before.png")
"""Most bytes of a scene's id: names of files have at most 255, with what is put before and after the id."""

Split = Literal["train", "validation", "test", "predict"]


@dataclass(frozen=True)
class Scene:
    """A scene of the catalog; nothing is opened."""

    id: str
    split: Split
    image: Image
    labels: tuple[LabelSource, ...]
    """Labels in order of priority; none if the scene is only predicted."""
    aoi: tuple[str, ...]
    """The files of its area of interest, of which the union counts; none for the whole image."""

    def files(self) -> Iterator[str]:
        """Yield the paths of all files of the scene."""
        yield from self.image.files()
        for source in self.labels:
            yield from source.files()
        yield from self.aoi

    @contextmanager
    def open(self, bands: Sequence[str], class_mapping: ClassMapping, readers: int = 1) -> Iterator["OpenScene"]:
        """Open the image's ``bands``, the labels, for the classes of ``class_mapping``, and the AOI.

        ``readers`` threads read in ``cut``.
        """
        try:
            with ExitStack() as files:
                with library_errors_as(ImageError, self.image.place):
                    raster = files.enter_context(self.image.open(bands))
                with library_errors_as(LabelError, ", ".join(source.path for source in self.labels)):
                    labels = files.enter_context(open_labels(self.labels, raster.grid, class_mapping, self.id))
                with library_errors_as(AOIError, ", ".join(self.aoi)):
                    aoi = open_aoi(self.aoi, raster.grid, self.id, self.split)
                yield OpenScene(self.id, self.split, raster, labels, aoi, readers)
        except QuadratError as error:
            error.scene = error.scene or self.id
            raise


@dataclass(frozen=True)
class OpenScene:
    """A scene whose pixels can be read; not shared between threads."""

    id: str
    split: Split
    raster: "Raster"
    labels: Labels | None
    aoi: AOI | None
    readers: int = 1

    @property
    def grid(self) -> Grid:
        """The grid of image, labels and AOI."""
        return self.raster.grid

    def needed_labels(self) -> Labels:
        """Return the labels; raise LabelError if the scene has none."""
        if self.labels is None:
            raise LabelError("the scene has no labels", self.id, hint="give it labels in the catalog")
        return self.labels

    @property
    def area(self) -> Window:
        """The bounds of the AOI, or the whole grid."""
        return self.grid.area if self.aoi is None else self.aoi.bounds

    def counted(self, window: Window, valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return (y, x), True on ``valid`` pixels of the window within the AOI."""
        return valid if self.aoi is None else valid & self.aoi.mask(window)

    def inside(self, window: Window) -> NDArray[np.bool_]:
        """Return (y, x), True within the AOI."""
        return np.ones(window.shape, np.bool_) if self.aoi is None else self.aoi.mask(window)

    def within(self, window: Window, class_ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the window's ``class_ids`` (y, x) within the AOI, IGNORE elsewhere."""
        return class_ids if self.aoi is None else counting(class_ids, self.aoi.mask(window))

    def cut(self, windows: Sequence[Window]) -> Iterator[Cut]:
        """Read ``windows`` (in row order), each pixel once; they may reach beyond the grid."""
        if windows:
            yield from cut(self.strips(windows), windows, self.grid.shape)

    def strips(self, windows: Sequence[Window]) -> "Iterator[Strip]":
        """Read all that ``windows`` cover or mirror, at least one of them, from top to bottom, each pixel once."""
        return self.raster.strips(reach(windows, self.grid.shape), self.raster.strip_height, self.readers)
