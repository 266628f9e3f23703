"""Blended scores to labels, and to scores, uncertainty and polygons where asked."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE, counting
from quadrat.geo.grids.tiling import Blended
from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.blended import Decided, PixelDecisions
from quadrat.tasks.common.calibration import Calibration
from quadrat.tasks.common.outputs import SCORE_STEPS, SETS, Features, Rows
from quadrat.tasks.semantic_segmentation.layers.outlines import draw, filled
from quadrat.tasks.semantic_segmentation.layers.polygoniser import Polygoniser, Polygons
from quadrat.tasks.semantic_segmentation.section import SegmentationLayers, SemanticSegmentation

if TYPE_CHECKING:
    from torch import Tensor

CACHED = 1 << 16
"""Px processed at once, so that their scores stay in the processor's cache."""


class SegmentationDecisions(PixelDecisions):
    """Of each pixel the class with the largest score: ``labels``; and further layers where asked."""

    output: ClassVar[str] = "scores"

    def __init__(
        self, task: SemanticSegmentation, layers: SegmentationLayers, area: Window, calibration: Calibration | None
    ) -> None:
        """Start empty; labels follow from scores, and all else from the probabilities that ``calibration`` makes."""
        self._layers = layers
        self._calibration = calibration
        self._least: NDArray[np.float32] | None = None
        if layers.conformal and calibration is not None and calibration.least is not None:
            percent = round(100 * layers.conformal)
            self._least = np.array([each[percent - 1] for each in calibration.least], np.float32)[:, None, None]
        self._names = np.array(task.names, object)
        self._polygoniser = Polygoniser(area.col, layers.min_pixels) if layers.polygons else None
        self._drawn = np.full(IGNORE + 1, IGNORE, np.uint8)  # maps each class id to the one for polygons
        chosen = np.flatnonzero(np.isin(task.names, layers.polygon_classes or task.names))
        self._drawn[chosen] = chosen

    @property
    def channels(self) -> int:
        """One for each class."""
        return len(self._names)

    def decide(self, rows: Blended) -> Decided:
        """Return ``labels`` and the ``largest`` score (y, x); where asked ``scores`` (class, y, x) and ``uncertainty``.

        The latter two are in steps.
        """
        layers = self._layers
        likeliest, highest = _largest(rows.values)
        values, largest = rows.values, highest
        if self._calibration is not None:
            if layers.scores or layers.uncertainty or layers.conformal:
                values = self._calibration.applied(rows.values, 0)
            if self._polygoniser or layers.confidence or layers.uncertainty:
                largest = self._calibration.largest(rows.values, highest)
        decided: dict[str, NDArray[Any]] = {"labels": counting(likeliest, rows.covered), "largest": largest}
        if layers.scores:
            decided["scores"] = _steps(values, rows.covered)
        if layers.uncertainty:
            decided["uncertainty"] = _steps(DOUBTS[layers.uncertainty](values, largest), rows.covered)
        if self._least is not None:
            sets = (values >= self._least).view(np.uint8)
            sets = np.concatenate([sets, [sets.sum(0, np.uint8) > 1]], dtype=np.uint8)
            decided[SETS] = np.where(rows.covered, sets, np.uint8(IGNORE))
        if layers.confidence:
            decided["confidence"] = np.stack([_steps(some, rows.covered) for some in (largest, highest)])
        return decided

    def decide_tensors(self, values: "Tensor", covered: "Tensor") -> "dict[str, Tensor]":
        """Return the same; the ``largest`` only if there are polygons, which alone need it."""
        import torch

        def steps(some: "Tensor") -> "Tensor":
            return torch.where(covered, (some * SCORE_STEPS).round(), IGNORE).to(torch.uint8)

        highest, likeliest = values.max(0)
        decided = {"labels": torch.where(covered, likeliest, IGNORE).to(torch.uint8)}
        layers = self._layers
        if not (self._polygoniser or layers.scores or layers.uncertainty or layers.confidence or layers.conformal):
            return decided
        if self._calibration is not None:
            values = self._calibration.applied_to(values)
        largest = values.amax(0)
        if self._polygoniser:
            decided["largest"] = largest
        if layers.scores:
            decided["scores"] = steps(values)
        if self._least is not None:
            least = self._least.ravel().tolist()  # numbers, for which the device waits less than for an array
            sets = torch.stack([each >= smallest for each, smallest in zip(values, least, strict=True)])
            sets = torch.cat([sets, sets.sum(0, keepdim=True) > 1])
            decided[SETS] = torch.where(covered, sets, IGNORE).to(torch.uint8)
        if layers.confidence:
            decided["confidence"] = torch.stack([steps(largest), steps(highest)])
        if layers.uncertainty == "margin":
            first, second = values.topk(2, 0).values
            decided["uncertainty"] = steps((1 - (first - second)).clamp(0, 1))
        elif layers.uncertainty == "entropy":
            doubt = -torch.special.xlogy(values, values).sum(0) / math.log(len(values))
            decided["uncertainty"] = steps(doubt.clamp(0, 1))
        return decided

    def finish(self, row: int, col: int, decided: Decided) -> Iterator[Rows | Features]:
        """Give rows of labels and scores, and the polygons that end in them."""
        labels = decided["labels"]
        yield Rows("labels", row, col, labels[None])
        if self._layers.scores:
            yield Rows("scores", row, col, decided["scores"])
        if self._layers.uncertainty:
            yield Rows("uncertainty", row, col, decided["uncertainty"][None])
        if self._least is not None:
            yield Rows(SETS, row, col, decided[SETS])
        if self._layers.confidence:
            yield Rows("confidence", row, col, decided["confidence"])
        if self._polygoniser:
            areas = labels if self._layers.polygon_classes is None else self._drawn[labels]
            yield self._features(self._polygoniser.add(row, areas, decided["largest"]))

    def close(self) -> Iterator[Rows | Features]:
        """Give the polygons that are left."""
        if self._polygoniser:
            yield self._features(self._polygoniser.close())

    def _features(self, polygons: Polygons) -> Features:
        fields = {
            "class": self._names[polygons.class_id],
            "class_id": polygons.class_id,
            "score": polygons.score,
            "pixels": polygons.pixels,
        }
        geometry = draw(self._layers.outlines, filled(polygons.geometry, self._layers.max_hole_pixels))
        return Features("polygons", geometry, fields)


def _steps(values: NDArray[np.float32], covered: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return values from 0 to 1 (…, y, x) as they are stored, IGNORE where nothing is covered."""
    steps: NDArray[np.uint8] = np.where(covered, np.rint(values * SCORE_STEPS), IGNORE).astype(np.uint8)
    return steps


def _margin(scores: NDArray[np.float32], largest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 minus the difference between the two largest of ``scores`` (class, y, x), (y, x)."""
    below, second = np.full_like(largest, -1), np.full_like(largest, -1)
    for score in scores:  # below is the largest so far
        np.maximum(second, np.minimum(below, score), out=second)
        np.maximum(below, score, out=below)
    doubt: NDArray[np.float32] = np.clip(1 - (largest - second), 0, 1)
    return doubt


def _entropy(scores: NDArray[np.float32], _: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the entropy of ``scores`` (class, y, x) as a share of the largest possible, (y, x)."""
    total = np.zeros(scores.shape[1:], np.float32)
    for score in scores:
        total -= score * np.log(np.maximum(score, np.float32(1e-37)))  # 0 of a score of 0
    doubt: NDArray[np.float32] = np.clip(total / np.float32(math.log(len(scores))), 0, 1)
    return doubt


DOUBTS = {"margin": _margin, "entropy": _entropy}
"""Measures of uncertainty."""


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
