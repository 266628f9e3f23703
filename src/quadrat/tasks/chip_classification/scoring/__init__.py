"""Scores predicted cells against labels."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.blocks import Blocks
from quadrat.geo.grids.cells import Cells, bands, centred, frame, painted
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window
from quadrat.tasks.chip_classification.scoring.multilabel_counts import Presence
from quadrat.tasks.chip_classification.scoring.predicted_cells import read_cells, read_scores
from quadrat.tasks.chip_classification.section import HALF, ChipClassification
from quadrat.tasks.chip_classification.targets.cell_rule import labelled_cells
from quadrat.tasks.common.metrics import Confusion, Counts, confuse
from quadrat.tasks.common.reliability import CALIBRATED, UNCALIBRATED, Reliability
from quadrat.tasks.common.scoring import Prediction, TaskScoring
from quadrat.tasks.common.targets import Target

if TYPE_CHECKING:
    import torch

    from quadrat.tasks.common.truth import Truth


class Scoring(TaskScoring[ChipClassification]):
    """Counts cells by true and predicted class, or per class by presence."""

    monitor: ClassVar[str] = "macro_f1"

    def no_counts(self, match: None = None) -> Confusion | Presence:
        """Return counts of no cell."""
        counts: type[Presence | Confusion] = Presence if self.task.multi_label else Confusion
        return counts.none(len(self.task.classes))

    def chip_counts(self, target: Target, outputs: Mapping[str, NDArray[np.float32]]) -> Confusion | Presence:
        """Count ``scores`` (chip, class) against ``classes`` (chip,), or (chip, class)."""
        if self.task.multi_label:
            return Presence(target["classes"], outputs["scores"])
        predicted = outputs["scores"].argmax(1).astype(np.uint8)
        return confuse(target["classes"], [predicted], len(self.task.classes))[0]

    def tally(
        self, target: Mapping[str, "torch.Tensor"], outputs: Mapping[str, "torch.Tensor"]
    ) -> "torch.Tensor | None":
        """Return the confusion of ``scores`` and ``classes``; None of several classes, whose every score is needed."""
        from quadrat.tasks.common.tally import confused

        return None if self.task.multi_label else confused(target["classes"], outputs["scores"])

    def tallied(self, tally: NDArray[np.int64]) -> Confusion:
        """Return the counts of a ``tally``."""
        return Confusion.tallied(tally)

    def score_blocks(
        self, truth: "Truth", predictions: Sequence[Prediction], blocks: Blocks, match: None = None
    ) -> list[dict[int, Confusion | Presence]]:
        """Count labelled cells that have their centre within the AOI and are in every prediction.

        A cell belongs to the block of its centre.
        """
        read = [read_cells(self.task, prediction) for prediction in predictions]
        found = [(cells[near], values[near]) for cells, values in read for near in (_near(truth, cells),)]
        cells, places = np.unique(np.concatenate([own for own, _ in found]), axis=0, return_inverse=True)
        ends = np.cumsum([len(own) for own, _ in found])[:-1]
        labelled = labelled_cells(self.task, truth.labels, cells)
        labelled[~_inside(truth, cells)] = IGNORE
        spread = [
            _spread(place, values, len(cells)) for place, (_, values) in zip(np.split(places, ends), found, strict=True)
        ]
        cols, rows = _centres(cells)
        numbers = blocks.numbers(rows, cols)
        known = labelled != IGNORE if labelled.ndim == 1 else (labelled != IGNORE).any(1)
        scored: list[dict[int, Confusion | Presence]] = [{} for _ in predictions]
        for number in np.unique(numbers[known]).tolist():
            here = numbers == number
            found_here = self._counts(labelled[here], [values[here] for values in spread])
            for parts, counts in zip(scored, found_here, strict=True):
                parts[number] = counts
        return scored

    def reliability(
        self, truth: "Truth", prediction: Prediction, counts: Counts, match: None = None
    ) -> dict[str, Reliability]:
        """Count the cells whose class is correct by its probability; with several classes, each known class of a cell.

        What those were before calibration is known of single classes only.
        """
        if isinstance(counts, Presence):
            known = counts.truth != IGNORE
            return {CALIBRATED: Reliability.of_scores(counts.scores[known], counts.truth[known] == 1)}
        cells, class_ids = read_cells(self.task, prediction)
        near = _near(truth, cells)
        labelled = labelled_cells(self.task, truth.labels, cells[near])
        labelled[~_inside(truth, cells[near])] = IGNORE
        told = {CALIBRATED: "score", UNCALIBRATED: "uncalibrated"}
        scores = {name: read_scores(self.task, prediction, field) for name, field in told.items()}
        known, right = labelled != IGNORE, labelled == class_ids[near]
        return {
            name: Reliability.of_scores(some[near][known], right[known]) for name, some in scores.items() if some.size
        }

    def _counts(self, labelled: NDArray[np.uint8], predicted: list[NDArray[Any]]) -> Sequence[Confusion | Presence]:
        """Count cells: labels (cell, …) against the class ids or scores (cell, …) of each prediction."""
        if not self.task.multi_label:
            return confuse(labelled, predicted, len(self.task.classes))
        common = ~np.isnan(predicted).any((0, 2))
        lost = int((labelled[~common] != IGNORE).any(1).sum())
        return [Presence(labelled[common], scores[common], lost) for scores in predicted]

    def label_map(self, truth: "Truth", prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return the labels' class id at each pixel of a predicted cell (y, x).

        If a cell has several classes: the predicted one if it is among them, else the first.
        """
        cells, values = read_cells(self.task, prediction, window)
        ids = labelled_cells(self.task, truth.labels, cells)
        if self.task.multi_label:
            predicted = _largest(values)
            there = np.column_stack([ids == 1, np.zeros(len(ids), np.bool_)])
            right = there[np.arange(len(ids)), np.minimum(predicted, len(self.task.classes))]
            ids = np.where(right, predicted, np.where(there.any(1), there.argmax(1), IGNORE)).astype(np.uint8)
        return painted(cells, ids, window, IGNORE)

    def predicted_map(self, prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return the predicted class id at each pixel of a cell (y, x); of several, the one with the largest score."""
        cells, values = read_cells(self.task, prediction, window)
        return painted(cells, _largest(values) if self.task.multi_label else values, window, IGNORE)


def _near(truth: "Truth", cells: Cells) -> NDArray[np.bool_]:
    """Return which cells have their centre in the area that contains all that counts."""
    cols, rows = _centres(cells)
    area = truth.area
    near: NDArray[np.bool_] = np.logical_and.reduce(
        [rows >= area.row, rows < area.bottom, cols >= area.col, cols < area.right]
    )
    return near


def _centres(cells: Cells) -> NDArray[np.int64]:
    """Return the column and row of the centre of each cell, (2, cell)."""
    centres: NDArray[np.int64] = (cells[:, :2] + cells[:, 2:]).T // 2
    return centres


def _inside(truth: "Truth", cells: Cells) -> NDArray[np.bool_]:
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
    """Return for each cell the class with the largest score (cell,), IGNORE if no class is present."""
    return np.where((scores >= HALF).any(1), scores.argmax(1), IGNORE).astype(np.uint8)
