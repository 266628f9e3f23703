"""Semantic segmentation: a class for every pixel."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from quadrat.geo.grids.class_ids import IGNORE, counting
from quadrat.geo.grids.tiling import Blend, Blended
from quadrat.geo.grids.windows import Window
from quadrat.geo.statistics.histogram import occurrences
from quadrat.runtime.formats.section import Name, Section
from quadrat.tasks.common.base import ScoredTask
from quadrat.tasks.common.classes import Class, Unit
from quadrat.tasks.common.inputs import Labels, Prediction, Truth
from quadrat.tasks.common.metrics import Confusion, confuse
from quadrat.tasks.common.outputs import Features, RasterLayer, Rows, Signature, VectorLayer, WrittenLayers
from quadrat.tasks.semantic_segmentation.polygons import Outline, Polygoniser, Polygons, filled

if TYPE_CHECKING:
    import torch

POLYGONS = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,99}\.(parquet|gpkg|fgb|geojson)")
"""Names of vector files; ``quadrat.prediction.vector_file`` writes these formats."""

SCORE_STEPS = 250
"""Scores are stored as whole numbers from 0 to this many."""


CACHED = 1 << 16
"""Px whose scores stay in the processor's cache while the largest is looked for."""


class SegmentationLoss(Section):
    """Cross-entropy plus ``dice`` times the Dice loss, over labelled pixels."""

    kind: Literal["semantic_segmentation"]
    dice: float = Field(ge=0)
    """Weight of the Dice loss; 0 is cross-entropy alone."""
    label_smoothing: float = Field(ge=0, lt=1)
    """Share of a pixel's truth that cross-entropy spreads over all classes."""
    class_balance: float = Field(ge=0, le=1)
    """Each class is weighted by its share of the training pixels to the power of minus this: 0 is no weights."""


class SegmentationLayers(WrittenLayers):
    """What predict writes beside ``labels.tif``."""

    kind: Literal["semantic_segmentation"]
    scores: bool
    """Write ``scores.tif``: each class's probability, a band each."""
    polygons: str | None
    """Name of the vector file of the predicted areas, whose ending is its format; null for none."""
    min_pixels: int = Field(ge=1)
    """Smallest area, in px, that becomes a polygon."""
    polygon_classes: Annotated[tuple[Name, ...], Field(min_length=1)] | None
    """Classes whose areas become polygons; null for all."""
    max_hole_pixels: int = Field(ge=0)
    """Largest hole of a polygon, in px, that is filled; 0 fills none. The raster stays as it is."""
    outlines: Outline
    """How the outlines of polygons are drawn."""

    @field_validator("polygons")
    @classmethod
    def _check_polygons(cls, polygons: str | None) -> str | None:
        if polygons is not None and not POLYGONS.fullmatch(polygons):
            raise ValueError("polygons is the name of a file that ends in .parquet, .gpkg, .fgb or .geojson, or null")
        return polygons

    def plain(self) -> Self:
        """Return the labels alone."""
        return self.model_copy(update={"scores": False, "polygons": None})

    def full(self) -> Self:
        """Return the same, and the scores."""
        return self.model_copy(update={"scores": True})

    def named(self) -> tuple[str, ...]:
        """Return the classes of polygons."""
        return self.polygon_classes or ()


class SemanticSegmentation(ScoredTask):
    """A class for every pixel, from areas or from rasters of classes."""

    unit: ClassVar[Unit] = "px"
    monitor: ClassVar[str] = "macro_f1"
    deepness: ClassVar[str | None] = "Segmentor"

    kind: Literal["semantic_segmentation"]
    classes: tuple[Class, ...] = Field(min_length=2, max_length=IGNORE)
    """The classes, in the order of their ids, from 0."""
    all_touched: bool
    """Label every pixel that an area touches, not only those whose centre it covers."""

    @property
    def reach(self) -> float:
        """A pixel is labelled by what covers its centre, or touches it."""
        return 2 if self.all_touched else 0

    def census(self, labels: Labels, window: Window, counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how many pixels of each class (K,) a strip holds."""
        return self.class_counts(self.target(labels, window, counted))

    def target(self, labels: Labels, window: Window, counted: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return ``classes`` (y, x): class ids, IGNORE where unlabelled or not ``counted``."""
        return {"classes": counting(labels.class_ids(window, all_touched=self.all_touched), counted)}

    def class_counts(self, target: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Return how many pixels of each class (K,) a target holds."""
        return occurrences(target["classes"], len(self.classes))

    def most_labels(self, features: NDArray[Any], wanted: NDArray[np.bool_], size: int) -> float:
        """Return the px of a chip."""
        return float(size**2)

    def teaches(self, target: Mapping[str, NDArray[Any]]) -> bool:
        """Return whether any pixel has a class."""
        return bool((target["classes"] != IGNORE).any())

    def loss(
        self,
        loss: SegmentationLoss,
        outputs: "torch.Tensor",
        target: Mapping[str, "torch.Tensor"],
        class_shares: Sequence[float],
    ) -> "torch.Tensor":
        """Return the loss of logits (chip, class, y, x) on ``classes`` (chip, y, x).

        ``class_shares`` are the classes' shares of the training pixels. Dice: the batch's soft Dice of the classes that
        it holds (Milletari et al. 2016).
        """
        import torch
        from torch.nn.functional import cross_entropy, one_hot

        truth = target["classes"].long()
        counted = truth != IGNORE
        if not counted.any():
            return outputs.sum() * 0
        weights = torch.tensor([s**-loss.class_balance if s > 0 else 0.0 for s in class_shares], device=outputs.device)
        weights = weights / weights[weights > 0].mean()
        total = cross_entropy(
            outputs, truth, weights.to(outputs.dtype), ignore_index=IGNORE, label_smoothing=loss.label_smoothing
        )
        if loss.dice:
            logits = outputs.movedim(1, -1)[counted].float()  # (pixel, class)
            likely, true = logits.softmax(-1), one_hot(truth[counted], self.channels).float()
            shared, both = (likely * true).sum(0), (likely + true).sum(0)
            present = true.sum(0) > 0
            total = total + loss.dice * (1 - 2 * shared[present] / both[present]).mean()
        return total

    def activate(self, outputs: "torch.Tensor") -> dict[str, "torch.Tensor"]:
        """Return ``scores`` (chip, class, y, x) that sum to 1, from logits."""
        import torch

        logits = outputs.float()
        if torch.onnx.is_in_onnx_export():  # onnxruntime's own softmax over planes takes ten times as long
            powers = (logits - logits.amax(1, keepdim=True)).exp()
            return {"scores": powers / powers.sum(1, keepdim=True)}
        return {"scores": logits.contiguous().softmax(1)}  # several times as fast, class after class

    def pixel_classes(self, target: Mapping[str, NDArray[Any]], shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Return ``classes`` (chip, y, x)."""
        classes: NDArray[np.uint8] = target["classes"]
        return classes

    def labelled_pixels(self, class_counts: NDArray[np.int64], chip_pixels: int) -> int:
        """Return the sum: pixels are what is counted."""
        return int(class_counts.sum())

    def layers(self, layers: SegmentationLayers) -> list[RasterLayer | VectorLayer]:
        """Return what predict writes for a scene."""
        written: list[RasterLayer | VectorLayer] = [
            RasterLayer("labels", "uint8", ("class",), IGNORE, classes=self.classes)
        ]
        if layers.scores:
            written.append(RasterLayer("scores", "uint8", self.names, IGNORE, scale=1 / SCORE_STEPS))
        if layers.polygons:
            written.append(VectorLayer("polygons", layers.polygons))
        return written

    def canvas(
        self, layers: SegmentationLayers, area: Window, size: int, stride: int, shape: tuple[int, int]
    ) -> "SegmentationCanvas":
        """Return what windows of ``size`` px over ``area`` are pasted on."""
        return SegmentationCanvas(self, layers, area, size, stride)

    def plain_stride(self, size: int, stride: int, context: int) -> int:
        """Return the largest stride at which every pixel has its ``context`` within some window."""
        return max(stride, size - 2 * context) if context else stride

    def no_counts(self, match: None = None) -> Confusion:
        """Return counts of no pixel."""
        return Confusion.none(len(self.classes))

    def chip_counts(self, target: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[np.float32]]) -> Confusion:
        """Count ``scores`` (chip, class, y, x) against ``classes`` (chip, y, x)."""
        predicted = outputs["scores"].argmax(1).astype(np.uint8)
        return confuse(target["classes"], [predicted], len(self.classes), IGNORE)[0]

    def score(self, truth: Truth, predictions: Sequence[Prediction], match: None = None) -> list[Confusion]:
        """Count the pixels within the AOI that have a label and, in every one of ``predictions``, a class."""
        counts = [self.no_counts() for _ in predictions]
        for window in truth.windows():
            classes = counting(self._labelled(truth, window), truth.inside(window))
            predicted = [self.predicted_map(prediction, window) for prediction in predictions]
            found = confuse(classes, predicted, len(self.classes), IGNORE)
            counts = [one + more for one, more in zip(counts, found, strict=True)]
        return counts

    def label_map(self, truth: Truth, prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return the labels' class ids (y, x), IGNORE where unlabelled."""
        return self._labelled(truth, window)

    def predicted_map(self, prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return the predicted class ids (y, x), IGNORE where there is none."""
        return prediction.class_ids("labels", window, self.names)

    def decided(self, outputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.intp]:
        """Return the class id of each pixel (chip, y, x)."""
        ids: NDArray[np.intp] = outputs["scores"].argmax(1)
        return ids

    def signature(self) -> Signature:
        """Return what a model gives: a score for each class at every pixel."""
        return Signature(
            f"a score for each of {len(self.classes)} classes at every pixel; a pixel's scores sum to 1",
            {"scores": "(window, class, y, x): each class's score at every pixel"},
            "labels = scores.argmax(1)  # (window, y, x)",
            {"scores": ("window", self.channels, "y", "x")},
            "Near a window's edge it sees less: let windows overlap.",
        )

    def _labelled(self, truth: Truth, window: Window) -> NDArray[np.uint8]:
        return truth.labels.class_ids(window, all_touched=self.all_touched)


def _largest(scores: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the first class of the largest of ``scores`` (class, y, x), and that score: a class after the other."""
    class_ids, largest = np.zeros(scores.shape[1:], np.uint8), scores[0].copy()
    step = max(1, CACHED // largest.shape[1])
    for row in range(0, len(largest), step):
        rows = slice(row, row + step)
        for number, score in enumerate(scores[1:, rows], 1):
            np.maximum(class_ids[rows], (score > largest[rows]).view(np.uint8) * np.uint8(number), out=class_ids[rows])
            np.maximum(largest[rows], score, out=largest[rows])
    return class_ids, largest


class SegmentationCanvas:
    """Blends scores and finishes them to labels, and to scores and polygons where asked."""

    def __init__(
        self, task: SemanticSegmentation, layers: SegmentationLayers, area: Window, size: int, stride: int
    ) -> None:
        """Start empty."""
        self._blend = Blend(area, task.channels, size, stride)
        self._layers = layers
        self._names = np.array(task.names, object)
        self._polygoniser = Polygoniser(area.col, layers.min_pixels) if layers.polygons else None
        self._drawn = np.full(IGNORE + 1, IGNORE, np.uint8)  # of each class id, the one that polygons are made of
        drawn = np.flatnonzero(np.isin(task.names, layers.polygon_classes or task.names))
        self._drawn[drawn] = drawn

    def paste(
        self, window: Window, outputs: Mapping[str, NDArray[np.float32]], valid: NDArray[np.bool_]
    ) -> Iterator[Rows | Features]:
        """Take ``scores`` (class, y, x) of a window; give the rows and polygons that it finishes."""
        for rows in self._blend.paste(window, outputs["scores"], valid):
            yield from self._finish(rows)

    def close(self) -> Iterator[Rows | Features]:
        """Give what is left."""
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
            drawn = labels if self._layers.polygon_classes is None else self._drawn[labels]
            yield self._features(self._polygoniser.add(rows.row, drawn, score))

    def _features(self, polygons: Polygons) -> Features:
        fields = {
            "class": self._names[polygons.class_id],
            "class_id": polygons.class_id,
            "score": polygons.score,
            "pixels": polygons.pixels,
        }
        geometry = self._layers.outlines.drawn(filled(polygons.geometry, self._layers.max_hole_pixels))
        return Features("polygons", geometry, fields)
