"""What labels hold within an area of interest, as far as is known in seconds: features, and parts of rasters."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window, strips
from quadrat.geo.statistics.histogram import occurrences
from quadrat.labels.labels import Labels, Ranked
from quadrat.labels.objects import Objects
from quadrat.scenes.aoi import AOI

PART = 256
"""Height and width of a part of a raster that is read, px."""

PARTS = 4
"""Parts of a raster that are read, down and across: each decodes a block or more."""

SMALL = 2048 * 2048
"""Px of an area that is read whole."""


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


def glimpse(labels: Labels, aoi: AOI | None, area: Window, classes: int, reach: float) -> Glimpse:
    """Look at the labels within ``area``, which holds all of the ``aoi``.

    Features up to ``reach`` px from the AOI may label what counts there. Raises LabelError for values of a raster that
    no class claims, where they are met.
    """
    seen = Glimpse.nothing(classes, hidden=False)
    for part in labels.ranked:
        objects = part.objects(labels.grid.area)
        one = _pixels(part, aoi, area, classes, reach) if objects is None else _features(objects, aoi, classes, reach)
        if part.background != IGNORE:
            one.hidden[part.background] = True
        seen += one
    return seen


def _features(objects: Objects, aoi: AOI | None, classes: int, reach: float) -> Glimpse:
    geometry, ids = objects.geometry, objects.class_ids
    if aoi is None:
        meeting = near = np.arange(len(ids))
    else:
        tree = shapely.STRtree(aoi.geometry)
        meeting = np.unique(tree.query(geometry, predicate="intersects")[0])
        near = meeting
        if reach:
            within = tree.query(geometry, predicate="dwithin", distance=reach)[0] if np.isfinite(reach) else None
            near = np.arange(len(ids)) if within is None else np.unique(within)
    here, there = (np.bincount(ids[some], minlength=classes)[:classes] for some in (meeting, near))
    return Glimpse(here, np.zeros(classes, np.int64), (here == 0) & (there > 0))


def _pixels(part: Ranked, aoi: AOI | None, area: Window, classes: int, reach: float) -> Glimpse:
    windows = list(_parts(area))
    pixels = np.zeros(classes, np.int64)
    for window in windows:
        ids = part.class_ids(window, all_touched=False)
        pixels += occurrences(ids if aoi is None else ids[aoi.mask(window)], classes)
    partly = sum(window.height * window.width for window in windows) < area.height * area.width
    unseen = partly or (reach > 0 and aoi is not None)
    return Glimpse(np.zeros(classes, np.int64), pixels, np.full(classes, unseen))


def _parts(area: Window) -> Iterator[Window]:
    """Give the windows of a raster that are looked at: all of a small area, or small ones all over it."""
    if area.height * area.width <= SMALL:
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
    begins[1:-1] -= begins[1:-1] % PART  # within a block, mostly
    return [(int(begin), PART) for begin in begins]
