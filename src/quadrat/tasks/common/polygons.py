"""Predicted polygons against labelled ones: what is found, missed and invented.

By falling score, a predicted polygon finds the free labelled polygon of its class with the largest intersection over
union, if that is at least FOUND: the rule of SpaceNet's building footprints (Van Etten et al. 2018, "SpaceNet: a remote
sensing dataset and challenge series").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.geo.geometry.parts import Geometries
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window
from quadrat.tasks.common import prediction_features
from quadrat.tasks.common.metrics import Metrics, known, ratio
from quadrat.tasks.common.outputs import Features

if TYPE_CHECKING:
    from quadrat.tasks.common.truth import Truth

FOUND = 0.5
"""Smallest intersection over union of a polygon that is found."""

TOGETHER = 4096
"""Polygons that are compared at once, because each may meet many."""


@dataclass(frozen=True, eq=False)
class Polygons:
    """Polygons in pixel coordinates (x = column, y = row), and their class ids; IGNORE where one does not count."""

    geometry: Geometries
    class_ids: NDArray[np.uint8]


@dataclass(frozen=True)
class PolygonCounts:
    """Numbers of polygons of all classes."""

    found: int
    """Pairs of a prediction and a label."""
    predicted: int
    labelled: int

    def __add__(self, other: Self) -> Self:
        """Return both together."""
        pairs = zip(self._all, other._all, strict=True)
        return type(self)(*(one + more for one, more in pairs))

    def metrics(self) -> Metrics:
        """Return F1, precision, recall and the number of labelled polygons."""
        found = 2 * self.found, self.found, self.found
        of = self.predicted + self.labelled, self.predicted, self.labelled
        shares = ratio(np.array(found), np.array(of))
        named = zip(("f1", "precision", "recall"), map(known, shares), strict=True)
        return {**dict(named), "support": self.labelled}

    @property
    def _all(self) -> tuple[int, int, int]:
        return self.found, self.predicted, self.labelled


def matching(truth: "Truth", features: Features, names: Sequence[str]) -> PolygonCounts:
    """Count a prediction's ``features`` against the labelled objects of a scene, which have features.

    Both count where the middle of their bounds is on a pixel that counts, and are compared by what of them lies on the
    image. Classes are called ``names``. Raises PredictionError for features without one of them.
    """
    objects = truth.labels.objects(truth.area)
    class_ids = prediction_features.class_ids(features, names)
    known = "score" in features.fields
    scores = prediction_features.scores(features, "score") if known else np.ones(len(class_ids))
    shapes = shapely.make_valid(features.geometry)
    counted = on_ground(truth, np.concatenate([objects.geometry, shapes]))
    ids = np.where(counted, np.concatenate([objects.class_ids, class_ids]), np.uint8(IGNORE))
    labelled, predicted = np.split(ids, [len(objects.class_ids)])
    shape = truth.labels.grid.shape
    return counts(
        Polygons(_on_image(objects.geometry, shape), labelled), Polygons(_on_image(shapes, shape), predicted), scores
    )


def counts(truth: Polygons, predicted: Polygons, scores: NDArray[np.floating]) -> PolygonCounts:
    """Count ``predicted`` polygons, with their ``scores`` (polygon,), against the ``truth``.

    Of equal scores, the first counts first. A label is found once. A prediction that finds none, and has at least half
    of its area in labels that do not count, counts nowhere either; nor does one whose class is IGNORE.
    """
    matches = matched(truth, predicted, scores)
    absent = (matches < 0) & (predicted.class_ids != IGNORE) & _ignored(truth, predicted)
    counted = (predicted.class_ids != IGNORE) & ~absent
    return PolygonCounts(int((matches >= 0).sum()), int(counted.sum()), int((truth.class_ids != IGNORE).sum()))


def matched(truth: Polygons, predicted: Polygons, scores: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return for each predicted polygon the number of the labelled one that it finds, or -1."""
    found, labels, overlap = _overlaps(truth, predicted)
    good = (overlap >= FOUND) & (truth.class_ids[labels] == predicted.class_ids[found])
    found, labels, overlap = found[good], labels[good], overlap[good]
    rank = np.empty(len(scores), np.intp)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    order = np.lexsort((labels, -overlap, rank[found]))
    of, taken = np.full(len(scores), -1), np.zeros(len(truth.class_ids), np.bool_)
    for one, label in zip(found[order].tolist(), labels[order].tolist(), strict=True):
        if of[one] < 0 and not taken[label]:
            of[one], taken[label] = label, True
    return of


def _on_image(geometry: Geometries, shape: tuple[int, int]) -> Geometries:
    """Return geometries cut at the edges of an image of ``shape`` (height, width), px."""
    height, width = shape
    left, top, right, bottom = shapely.bounds(geometry).reshape(-1, 4).T
    beyond = (left < 0) | (top < 0) | (right > width) | (bottom > height)
    cut = geometry.copy()
    cut[beyond] = shapely.intersection(geometry[beyond], shapely.box(0, 0, width, height))
    return cut


def on_ground(truth: "Truth", geometry: Geometries) -> NDArray[np.bool_]:
    """Return which geometries (polygon,) have the middle of their bounds on a pixel that counts."""
    left, top, right, bottom = shapely.bounds(geometry).reshape(-1, 4).T
    cols, rows = (np.floor((low + high) / 2) for low, high in ((left, right), (top, bottom)))
    hit = np.zeros(len(cols), np.bool_)
    for window in truth.windows():
        mine = _within(window, cols, rows)
        if mine.any():
            places = rows[mine].astype(np.intp) - window.row, cols[mine].astype(np.intp) - window.col
            hit[mine] = truth.counted(window)[places]
    return hit


def _within(window: Window, cols: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.logical_and.reduce(
        [cols >= window.col, cols < window.right, rows >= window.row, rows < window.bottom]
    )
    return inside


def _overlaps(truth: Polygons, predicted: Polygons) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return all pairs of a predicted and a counted labelled polygon that meet, and their intersection over union."""
    labels = np.flatnonzero(truth.class_ids != IGNORE)
    tree, kept = shapely.STRtree(truth.geometry[labels]), []
    for start in range(0, len(predicted.geometry), TOGETHER):
        some = predicted.geometry[start : start + TOGETHER]
        one, other = tree.query(some, predicate="intersects")
        both = shapely.area(shapely.intersection(some[one], truth.geometry[labels[other]]))
        whole = shapely.area(some[one]) + shapely.area(truth.geometry[labels[other]]) - both
        kept.append((one + start, labels[other], ratio(both, whole)))
    nothing = np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0)
    found, label, overlap = (np.concatenate(some) for some in zip(nothing, *kept, strict=True))
    return found, label, overlap


def _ignored(truth: Polygons, predicted: Polygons) -> NDArray[np.bool_]:
    """Return which predicted polygons have at least half of their area in a label that does not count."""
    labels = np.flatnonzero(truth.class_ids == IGNORE)
    within = np.zeros(len(predicted.geometry), np.bool_)
    one, other = shapely.STRtree(truth.geometry[labels]).query(predicted.geometry, predicate="intersects")
    both = shapely.area(shapely.intersection(predicted.geometry[one], truth.geometry[labels[other]]))
    within[one[both >= FOUND * shapely.area(predicted.geometry[one])]] = True
    return within
