"""What labels hold within an area of interest, as far as is known in seconds: features, and parts of rasters."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.scenes.aoi import AOI
from quadrat.scenes.labels import Labels
from quadrat.scenes.legend import UNLABELLED
from quadrat.windows import Window, strips

PART = 256
"""Height and width of a part of a raster that is read, px."""

PARTS = 8
"""Parts of a raster that are read, down and across; a smaller area is read whole."""


@dataclass(frozen=True)
class Glimpse:
    """What was seen of each class (K,)."""

    features: NDArray[np.int64]
    """Features of vectors that meet the area of interest."""
    pixels: NDArray[np.int64]
    """Px of rasters within the area of interest, in the parts that were read."""
    hidden: NDArray[np.bool_]
    """True where a class may be there unseen: in parts that were not read, or as that of all that no label covers."""

    @classmethod
    def nothing(cls, classes: int, *, hidden: bool) -> "Glimpse":
        """Return a look at no labels, or (``hidden``) at labels that can't be read."""
        none = np.zeros(classes, np.int64)
        return cls(none, none, np.full(classes, hidden))

    @property
    def absent(self) -> NDArray[np.bool_]:
        """Return for each class (K,) whether it is surely not there."""
        absent: NDArray[np.bool_] = (self.features + self.pixels == 0) & ~self.hidden
        return absent

    def __add__(self, other: "Glimpse") -> "Glimpse":
        """Return what was seen in both together."""
        return Glimpse(self.features + other.features, self.pixels + other.pixels, self.hidden | other.hidden)


def glimpse(labels: Labels, aoi: AOI | None, area: Window, classes: int) -> Glimpse:
    """Look at the labels within ``area``, which holds all of the ``aoi``.

    Raises LabelError for values of a raster that no class claims, where they are met.
    """
    seen = Glimpse.nothing(classes, hidden=False)
    for part in labels.ranked:
        objects = part.objects(area)
        pixels = np.zeros(UNLABELLED + 1, np.int64)
        hidden = np.zeros(classes, np.bool_)
        if objects is None:
            windows = list(_parts(area))
            hidden[:] = sum(window.height * window.width for window in windows) < area.height * area.width
            for window in windows:
                ids = part.class_ids(window, all_touched=False)
                pixels += np.bincount(ids[slice(None) if aoi is None else aoi.mask(window)].ravel(), minlength=256)
            ids = np.empty(0, np.uint8)
        else:
            ids = objects.class_ids if aoi is None else objects.class_ids[_meeting(objects.geometry, aoi)]
        if part.outside != UNLABELLED:
            hidden[part.outside] = True
        seen += Glimpse(np.bincount(ids, minlength=classes)[:classes], pixels[:classes], hidden)
    return seen


def _meeting(geometry: NDArray[np.object_], aoi: AOI) -> NDArray[np.intp]:
    """Return the numbers of the geometries that touch the area of interest at least."""
    return np.unique(shapely.STRtree(aoi.geometry).query(geometry, predicate="intersects")[0])


def _parts(area: Window) -> Iterator[Window]:
    """Give the windows of a raster that are looked at: all of a small area, or small ones all over it."""
    if area.height * area.width <= (PART * PARTS) ** 2:
        yield from strips(area, PART)
        return
    rows, cols = (_spread(start, length) for start, length in ((area.row, area.height), (area.col, area.width)))
    for row, height in rows:
        for col, width in cols:
            yield Window(row, col, height, width)


def _spread(start: int, length: int) -> list[tuple[int, int]]:
    """Return at most PARTS pieces (begin, length) of an axis, equally far apart, the first and last at its ends."""
    if length <= PART * PARTS:
        return [(start + n, min(PART, length - n)) for n in range(0, length, PART)]
    begins = np.linspace(start, start + length - PART, PARTS).round().astype(int)
    return [(int(begin), PART) for begin in begins]
