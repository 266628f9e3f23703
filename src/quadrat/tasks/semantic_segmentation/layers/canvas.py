"""The canvas of semantic segmentation."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE, counting
from quadrat.geo.grids.tiling import Blend, Blended
from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.outputs import Features, Rows
from quadrat.tasks.semantic_segmentation.layers.outlines import draw, filled
from quadrat.tasks.semantic_segmentation.layers.polygoniser import Polygoniser, Polygons
from quadrat.tasks.semantic_segmentation.section import SegmentationLayers, SemanticSegmentation

SCORE_STEPS = 250
"""Scores are stored as whole numbers from 0 to this many."""

CACHED = 1 << 16
"""Px processed at once, so that their scores stay in the processor's cache."""


class SegmentationCanvas:
    """Blends scores and turns them into labels, and optionally scores and polygons."""

    def __init__(
        self, task: SemanticSegmentation, layers: SegmentationLayers, area: Window, size: int, stride: int
    ) -> None:
        """Start empty."""
        self._blend = Blend(area, len(task.classes), size, stride)
        self._layers = layers
        self._names = np.array(task.names, object)
        self._polygoniser = Polygoniser(area.col, layers.min_pixels) if layers.polygons else None
        self._drawn = np.full(IGNORE + 1, IGNORE, np.uint8)  # maps each class id to the one for polygons
        chosen = np.flatnonzero(np.isin(task.names, layers.polygon_classes or task.names))
        self._drawn[chosen] = chosen

    def paste(
        self, window: Window, outputs: Mapping[str, NDArray[np.float32]], valid: NDArray[np.bool_]
    ) -> Iterator[Rows | Features]:
        """Take ``scores`` (class, y, x) of a window; give finished rows and polygons."""
        for rows in self._blend.paste(window, outputs["scores"], valid):
            yield from self._finish(rows)

    def close(self) -> Iterator[Rows | Features]:
        """Give the remaining rows and polygons."""
        for rows in self._blend.close():
            yield from self._finish(rows)
        if self._polygoniser:
            yield self._features(self._polygoniser.close())

    def _finish(self, rows: Blended) -> Iterator[Rows | Features]:
        likeliest, score = _largest(rows.values)
        labels = counting(likeliest, rows.covered)
        yield Rows("labels", rows.row, rows.col, labels[None])
        if self._layers.scores:
            scores = np.where(rows.covered, np.rint(rows.values * SCORE_STEPS), IGNORE).astype(np.uint8)
            yield Rows("scores", rows.row, rows.col, scores)
        if self._polygoniser:
            areas = labels if self._layers.polygon_classes is None else self._drawn[labels]
            yield self._features(self._polygoniser.add(rows.row, areas, score))

    def _features(self, polygons: Polygons) -> Features:
        fields = {
            "class": self._names[polygons.class_id],
            "class_id": polygons.class_id,
            "score": polygons.score,
            "pixels": polygons.pixels,
        }
        geometry = draw(self._layers.outlines, filled(polygons.geometry, self._layers.max_hole_pixels))
        return Features("polygons", geometry, fields)


def _largest(scores: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the class with the largest of ``scores`` (class, y, x), the first of equals, and that score."""
    class_ids, largest = np.zeros(scores.shape[1:], np.uint8), scores[0].copy()
    step = max(1, CACHED // largest.shape[1])
    for row in range(0, len(largest), step):
        rows = slice(row, row + step)
        for number, score in enumerate(scores[1:, rows], 1):
            np.maximum(class_ids[rows], (score > largest[rows]).view(np.uint8) * np.uint8(number), out=class_ids[rows])
            np.maximum(largest[rows], score, out=largest[rows])
    return class_ids, largest
