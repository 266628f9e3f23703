"""Surveys labels within an area of interest in seconds: features, and parts of rasters."""

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
"""Height and width of a part of a raster, px."""

PARTS = 4
"""Number of parts of a raster, down and across; each decodes a block or more."""

SMALL = 2048 * 2048
"""Areas up to this many px are read completely."""


@dataclass(frozen=True)
class LabelSurvey:
    """The labels found of each class (K,)."""

    features: NDArray[np.int64]
    """Features of vectors that meet the area of interest."""
    pixels: NDArray[np.int64]
    """Px of rasters within the area of interest, in the parts."""
    hidden: NDArray[np.bool_]
    """True if a class may be present unseen: in other parts, or as ``background``."""

    @classmethod
    def nothing(cls, classes: int, *, hidden: bool) -> "LabelSurvey":
        """Return the survey of no labels, or (``hidden``) of labels that can't be read."""
        none = np.zeros(classes, np.int64)
        return cls(none, none, np.full(classes, hidden))

    @property
    def absent(self) -> NDArray[np.bool_]:
        """Return for each class (K,) whether it is certainly absent."""
        absent: NDArray[np.bool_] = (self.features + self.pixels == 0) & ~self.hidden
        return absent

    def __add__(self, other: "LabelSurvey") -> "LabelSurvey":
        """Return the sum of both."""
        return LabelSurvey(self.features + other.features, self.pixels + other.pixels, self.hidden | other.hidden)


def survey_labels(labels: Labels, aoi: AOI | None, area: Window, classes: int, reach: float) -> LabelSurvey:
    """Survey the labels within ``area``, which contains the ``aoi``.

    Features up to ``reach`` px from the AOI may label pixels in it. Raises LabelError for values that no class lists in
    the parts.
    """
    seen = LabelSurvey.nothing(classes, hidden=False)
    for part in labels.ranked:
        objects = part.objects(labels.grid.area)
        one = _pixels(part, aoi, area, classes, reach) if objects is None else _features(objects, aoi, classes, reach)
        if part.background != IGNORE:
            one.hidden[part.background] = True
        seen += one
    return seen


def _features(objects: Objects, aoi: AOI | None, classes: int, reach: float) -> LabelSurvey:
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
    return LabelSurvey(here, np.zeros(classes, np.int64), (here == 0) & (there > 0))


def _pixels(part: Ranked, aoi: AOI | None, area: Window, classes: int, reach: float) -> LabelSurvey:
    windows = list(_parts(area))
    pixels = np.zeros(classes, np.int64)
    for window in windows:
        ids = part.class_ids(window, all_touched=False)
        pixels += occurrences(ids if aoi is None else ids[aoi.mask(window)], classes)
    partly = sum(window.height * window.width for window in windows) < area.height * area.width
    unseen = partly or (reach > 0 and aoi is not None)
    return LabelSurvey(np.zeros(classes, np.int64), pixels, np.full(classes, unseen))


def _parts(area: Window) -> Iterator[Window]:
    """Yield the windows of a raster to read: all of a small area, or parts spread over it."""
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
