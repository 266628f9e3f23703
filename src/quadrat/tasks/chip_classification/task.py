"""Chip classification: a class for every cell, or for each class whether the cell has it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import shapely
from numpy.typing import NDArray
from pydantic import Field, model_validator

from quadrat.geo.grids.cells import (
    Cells,
    as_cells,
    bands,
    boxes,
    centred,
    clipped,
    frame,
    lattice,
    margin,
    middle,
    painted,
)
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window, whole
from quadrat.runtime.formats.section import Section
from quadrat.tasks.chip_classification.cell_rule import Rule
from quadrat.tasks.chip_classification.multilabel_counts import HALF, Presence
from quadrat.tasks.common import prediction_features
from quadrat.tasks.common.base import ScoredTask
from quadrat.tasks.common.classes import Unit
from quadrat.tasks.common.inputs import Labels, Prediction, Truth
from quadrat.tasks.common.metrics import Confusion, confuse
from quadrat.tasks.common.outputs import Features, Signature, VectorLayer, WrittenLayers

if TYPE_CHECKING:
    import torch

OFF = 0.05
"""Largest distance, in px, between a cell's edge and a pixel's: rounding of what was written."""

LISTED = ", "
"""What stands between the names of a cell's classes."""


class ClassificationLoss(Section):
    """Cross-entropy over labelled cells; of several classes at once, the binary one of each that is known."""

    kind: Literal["chip_classification"]
    label_smoothing: float = Field(ge=0, lt=1)
    """Share of a cell's truth that is spread over all classes (for several at once: over yes and no)."""
    class_balance: float = Field(ge=0, le=1)
    """Each class is weighted by its share of the training labels to the power of minus this: 0 is no weights."""


class CellLayers(WrittenLayers):
    """What predict writes."""

    kind: Literal["chip_classification"]
    cells: Literal["cells.parquet", "cells.gpkg", "cells.fgb", "cells.geojson"]
    """The vector file of the cells, whose ending is its format."""


class ChipClassification(ScoredTask):
    """A class for every cell, or several, from polygons or from rasters of classes.

    A cell that the image's edge cuts is what of it lies on the image, in all that is counted, taught and scored.
    """

    unit: ClassVar[Unit] = "cells"
    monitor: ClassVar[str] = "macro_f1"

    kind: Literal["chip_classification"]
    cell_size: int = Field(ge=1)
    """Height and width, px, of the square in a window's middle that is classified; what lies around is context."""
    rule: Rule
    """When labels give a cell their class."""
    multi_label: bool
    """Whether a cell may have several classes at once, or none."""

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        if len(self.classes) < 2 and not self.multi_label:
            raise ValueError("a cell of one class has nothing to be told from: name another, or set multi_label")
        listed = [name for name in self.names if LISTED in name]
        if listed and self.multi_label:
            raise ValueError(
                f"the field 'class' lists a cell's classes with '{LISTED}' between them: "
                f"write names without it, where these have it: {'; '.join(listed)}"
            )
        return self

    @property
    def exclusive(self) -> bool:
        """Whether a cell has one class alone."""
        return not self.multi_label

    @property
    def pool(self) -> int:
        """The cell's side, px."""
        return self.cell_size

    @property
    def reach(self) -> float:
        """A cell whose middle counts is labelled by all that lies in it."""
        return self.cell_size

    def census(self, labels: Labels, window: Window, counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how many cells of each class (K,) a strip holds: of the grid's, those whose centre is counted."""
        cells = clipped(lattice(window, self.cell_size), labels.area)
        cells = cells[centred(cells, counted, window)]
        return self.class_counts({"classes": self._truth(labels, cells)})

    def target(self, labels: Labels, window: Window, counted: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return ``classes``: the middle cell's class id (), IGNORE where unlabelled or its centre is not ``counted``.

        With ``multi_label``, (K,): 1 for each class that it has, 0 for the others, IGNORE where that isn't known.
        """
        cells = clipped(as_cells([middle(window, self.cell_size)]), labels.area)
        truth = self._truth(labels, cells[centred(cells, counted, window)])
        return {"classes": truth[0] if len(truth) else np.full(truth.shape[1:], IGNORE, np.uint8)}

    def class_counts(self, target: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Return how many cells of each class (K,) targets hold."""
        classes = target["classes"]
        held = np.atleast_2d(classes == 1) if self.multi_label else classes.reshape(-1, 1) == range(len(self.classes))
        counts: NDArray[np.int64] = held.sum(0, dtype=np.int64)
        return counts

    def most_labels(self, features: NDArray[Any], wanted: NDArray[np.bool_], size: int) -> float:
        """Return 1 for the cell in a chip's middle, or as many as the classes that it may have."""
        return float(np.count_nonzero(wanted)) if self.multi_label else 1.0

    def teaches(self, target: Mapping[str, NDArray[Any]]) -> bool:
        """Return whether anything is known of the cell: with several classes, also that it has none of them."""
        return bool((target["classes"] != IGNORE).any())

    def turn(self, target: Mapping[str, "torch.Tensor"], symmetry: int, size: int) -> dict[str, "torch.Tensor"]:
        """Return the targets as they are: a cell's class doesn't turn with it."""
        return dict(target)

    def loss(
        self,
        loss: ClassificationLoss,
        outputs: "torch.Tensor",
        target: Mapping[str, "torch.Tensor"],
        class_shares: Sequence[float],
    ) -> "torch.Tensor":
        """Return the loss of logits (chip, class) on ``classes``; ``class_shares`` are of the training labels."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

        truth = target["classes"].long()
        if not (truth != IGNORE).any():
            return outputs.sum() * 0
        rarest = min((share for share in class_shares if share > 0), default=1.0)
        weights = torch.tensor(
            [max(share, rarest) ** -loss.class_balance for share in class_shares], device=outputs.device
        )
        weights = (weights / weights.mean()).to(outputs.dtype)
        if not self.multi_label:
            smoothing = loss.label_smoothing
            return cross_entropy(outputs, truth, weights, ignore_index=IGNORE, label_smoothing=smoothing)
        known = (truth != IGNORE).to(outputs.dtype)
        wanted = (truth == 1).to(outputs.dtype) * (1 - loss.label_smoothing) + loss.label_smoothing / 2
        each = binary_cross_entropy_with_logits(outputs, wanted, reduction="none")
        return (each * known * weights).sum() / known.sum()

    def activate(self, outputs: "torch.Tensor") -> dict[str, "torch.Tensor"]:
        """Return ``scores`` (chip, class) from logits: they sum to 1, or are each class's own."""
        logits = outputs.float()
        return {"scores": logits.sigmoid() if self.multi_label else logits.softmax(1)}

    def pixel_classes(self, target: Mapping[str, NDArray[Any]], shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Return (chip, y, x): the cell's class at its pixels, IGNORE around it."""
        cell = middle(Window(0, 0, *shape), self.cell_size).slices()
        classes = np.full((len(target["classes"]), *shape), IGNORE, np.uint8)
        classes[:, cell[0], cell[1]] = target["classes"][:, None, None]
        return classes

    def labelled_pixels(self, class_counts: NDArray[np.int64], chip_pixels: int) -> int:
        """Return the pixels of all labelled cells."""
        return int(class_counts.sum()) * self.cell_size**2

    def layers(self, layers: CellLayers) -> list[VectorLayer]:  # type: ignore[override]  # a list of fewer kinds
        """Return what predict writes for a scene."""
        return [VectorLayer("cells", layers.cells)]

    def canvas(self, layers: CellLayers, area: Window, size: int, stride: int, shape: tuple[int, int]) -> "CellCanvas":
        """Return what windows over ``area`` of a grid of ``shape`` are pasted on."""
        return CellCanvas(self, area, whole(shape))

    def validation_stride(self, size: int) -> int:
        """Return the cell's side."""
        return self.cell_size

    def margin(self, size: int, stride: int) -> int:
        """Return the px of context above and left of a cell: the first begins at the area's corner."""
        return margin(size, self.cell_size)

    def no_counts(self, match: None = None) -> Confusion | Presence:
        """Return counts of no cell."""
        return Presence.none(len(self.classes)) if self.multi_label else Confusion.none(len(self.classes))

    def chip_counts(
        self, target: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[np.float32]]
    ) -> Confusion | Presence:
        """Count ``scores`` (chip, class) against ``classes`` (chip,), or (chip, class)."""
        if self.multi_label:
            return Presence(target["classes"], outputs["scores"])
        predicted = outputs["scores"].argmax(1).astype(np.uint8)
        return confuse(target["classes"], [predicted], len(self.classes), IGNORE)[0]

    def score(
        self, truth: Truth, predictions: Sequence[Prediction], match: None = None
    ) -> list[Confusion] | list[Presence]:
        """Count the cells that are labelled and whose centre lies within the AOI, on those of every prediction."""
        found = [_near(truth, *self._read(prediction)) for prediction in predictions]
        cells, places = np.unique(np.concatenate([own for own, _ in found]), axis=0, return_inverse=True)
        ends = np.cumsum([len(own) for own, _ in found])[:-1]
        labelled = self._truth(truth.labels, cells)
        labelled[~_inside(truth, cells)] = IGNORE
        spread = [
            _spread(place, values, len(cells)) for place, (_, values) in zip(np.split(places, ends), found, strict=True)
        ]
        if not self.multi_label:
            return confuse(labelled, spread, len(self.classes), IGNORE)
        common = ~np.isnan(spread).any((0, 2))
        lost = int((labelled[~common] != IGNORE).any(1).sum())
        return [Presence(labelled[common], scores[common], lost) for scores in spread]

    def label_map(self, truth: Truth, prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return the labels' class id at each pixel of a predicted cell (y, x).

        Of several classes, the predicted one if it is there, or the first.
        """
        cells, values = self._read(prediction, window)
        ids = self._truth(truth.labels, cells)
        if self.multi_label:
            predicted = _largest(values)
            there = np.column_stack([ids == 1, np.zeros(len(ids), np.bool_)])
            right = there[np.arange(len(ids)), np.minimum(predicted, len(self.classes))]
            ids = np.where(right, predicted, np.where(there.any(1), there.argmax(1), IGNORE)).astype(np.uint8)
        return painted(cells, ids, window, IGNORE)

    def predicted_map(self, prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return the predicted class id at each pixel of a cell (y, x); of several, that of the largest score."""
        cells, values = self._read(prediction, window)
        return painted(cells, _largest(values) if self.multi_label else values, window, IGNORE)

    def decided(self, outputs: Mapping[str, NDArray[np.float32]]) -> NDArray[Any]:
        """Return the class id of each chip (chip,), or for each class whether it is there (chip, class)."""
        decided: NDArray[Any] = outputs["scores"] >= HALF if self.multi_label else outputs["scores"].argmax(1)
        return decided

    def signature(self) -> Signature:
        """Return what a model gives: a score for each class of each window."""
        count, side = len(self.classes), f"{self.cell_size} × {self.cell_size} px"
        if self.multi_label:
            says, decide = "each from 0 to 1, of its own", f"there = scores >= {HALF}  # (window, class)"
        else:
            says, decide = "which sum to 1", "classes = scores.argmax(1)  # (window,)"
        return Signature(
            f"a score for each of {count} classes, {says}, of the {side} in a window's middle",
            {"scores": f"(window, class): each class's score of the {side} in the middle"},
            decide,
            {"scores": ("window", count)},
            f"The answer is of the {side} in its middle; what lies around is context.",
        )

    def _truth(self, labels: Labels, cells: Cells) -> NDArray[np.uint8]:
        """Return the labels' class ids (cell,), or which classes are there (cell, class)."""
        of = self.rule.presence if self.multi_label else self.rule.class_ids
        return of(labels.ranked, cells, len(self.classes))

    def _read(self, prediction: Prediction, window: Window | None = None) -> tuple[Cells, NDArray[Any]]:
        """Return the predicted cells in row order, and their class ids (cell,), or scores (cell, class)."""
        features = prediction.features("cells", window)
        cells = self._cells(features)
        order = np.lexsort((cells[:, 0], cells[:, 1]))
        if not self.multi_label:
            return cells[order], prediction_features.class_ids(features, self.names)[order]
        scores = [prediction_features.scores(features, f"score_{name}") for name in self.names]
        return cells[order], np.column_stack(scores)[order]

    def _cells(self, features: Features) -> Cells:
        """Return features as cells; raise PredictionError where they are none, or not of ``cell_size``."""
        edges = shapely.bounds(features.geometry)
        cells = np.rint(edges).astype(np.int64)
        (width, height), (right, bottom) = (cells[:, 2:] - cells[:, :2]).T, cells[:, 2:].T
        beside = np.abs(edges - cells).max(1, initial=0)
        slanted = np.abs(shapely.area(features.geometry) - width * height) > OFF * 2 * (width + height)
        small = ((width < self.cell_size) & (right < right.max(initial=0))) | (
            (height < self.cell_size) & (bottom < bottom.max(initial=0))
        )
        large = np.maximum(width, height) > self.cell_size
        wrong = np.flatnonzero((beside > OFF) | slanted | small | large | (np.minimum(width, height) < 1))
        size = f"squares of {self.cell_size} px along pixels' edges, cut at the lower and right edge alone"
        if wrong.size:
            found = [f"({', '.join(f'{edge:.7g}' for edge in edges[number])})" for number in wrong[:1]]
            got = [f"{wrong.size} others of {len(cells)}, the first from column, row to column, row {found[0]}"]
            raise prediction_features.unlike(
                features, "the predicted cells are of another task, or of another grid", size, got
            )
        twice = len(cells) - len(np.unique(cells, axis=0))
        if twice:
            raise prediction_features.unlike(
                features, "cells are predicted twice", "each cell once", [f"{twice} of {len(cells)}"]
            )
        return cells


class CellCanvas:
    """Gathers the cells of a row of windows, and gives what of them lies on the grid as features."""

    def __init__(self, task: ChipClassification, area: Window, grid: Window) -> None:
        """Start empty; ``area`` of the ``grid`` is what counts."""
        self._task, self._area, self._grid = task, area, grid
        self._names = np.array(task.names, object)
        self._row: int | None = None
        self._cells: list[Window] = []
        self._scores: list[NDArray[np.float32]] = []

    def paste(
        self, window: Window, outputs: Mapping[str, NDArray[np.float32]], valid: NDArray[np.bool_]
    ) -> Iterator[Features]:
        """Take ``scores`` (class,) of a window; give the row of cells above.

        A cell without a valid pixel in the area is none.
        """
        if window.row != self._row:
            if self._cells:
                yield self._features()
            self._row = window.row
        cell = middle(window, self._task.cell_size)
        counting, there = cell.intersection(self._area), cell.intersection(self._grid)
        if there is not None and counting is not None and valid[counting.slices(window)].any():
            self._cells.append(there)
            self._scores.append(outputs["scores"])

    def close(self) -> Iterator[Features]:
        """Give what is left, if only the fields' names."""
        yield self._features()

    def _features(self) -> Features:
        cells = as_cells(self._cells)
        scores = np.array(self._scores, np.float32).reshape(-1, len(self._names))
        self._cells, self._scores = [], []
        own: dict[str, NDArray[Any]] = {f"score_{name}": s for name, s in zip(self._names, scores.T, strict=True)}
        if self._task.multi_label:
            said = [LISTED.join(self._names[there]) for there in scores >= HALF]
            return Features("cells", boxes(cells), {"class": np.array(said, object), **own})
        ids = scores.argmax(1).astype(np.uint8)
        fields = {"class": self._names[ids], "class_id": ids, "score": scores.max(1, initial=0)}
        return Features("cells", boxes(cells), {**fields, **own})


def _near(truth: Truth, cells: Cells, values: NDArray[Any]) -> tuple[Cells, NDArray[Any]]:
    """Return the cells whose centre lies where any can count, with their values (cell, …)."""
    windows = list(truth.windows())
    cols, rows = (cells[:, :2] + cells[:, 2:]).T // 2
    near = (rows >= windows[0].row) & (rows < windows[-1].bottom)
    near &= (cols >= windows[0].col) & (cols < windows[0].right)
    return cells[near], values[near]


def _inside(truth: Truth, cells: Cells) -> NDArray[np.bool_]:
    """Return for each cell whether its centre lies within the AOI."""
    inside = np.zeros(len(cells), np.bool_)
    for some in bands(cells):
        window = frame(cells[some])
        inside[some] = centred(cells[some], truth.inside(window), window)
    return inside


def _spread(places: NDArray[np.intp], values: NDArray[Any], count: int) -> NDArray[Any]:
    """Return values (own cell, …) at their places among all cells (cell, …), IGNORE or NaN elsewhere."""
    spread = np.full((count, *values.shape[1:]), np.nan if values.ndim > 1 else IGNORE, values.dtype)
    spread[places] = values
    return spread


def _largest(scores: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return for each cell the class with the largest score (cell,), IGNORE where none is there."""
    return np.where((scores >= HALF).any(1), scores.argmax(1), IGNORE).astype(np.uint8)
