"""Reads and checks the cells of a prediction, which other programs may have made."""

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.geo.grids.cells import Cells
from quadrat.geo.grids.windows import Window
from quadrat.tasks.chip_classification.section import ChipClassification
from quadrat.tasks.common import prediction_features
from quadrat.tasks.common.outputs import Features
from quadrat.tasks.common.scoring import Prediction

OFF = 0.05
"""Largest distance, px, between the edges of a cell and a pixel that counts as rounding."""


def read_cells(
    task: ChipClassification, prediction: Prediction, window: Window | None = None
) -> tuple[Cells, NDArray[Any]]:
    """Return the predicted cells in row order, and their class ids (cell,), or scores (cell, class)."""
    features = prediction.features("cells", window)
    cells = _cells(features, task.cell_size)
    order = np.lexsort((cells[:, 0], cells[:, 1]))
    if not task.multi_label:
        return cells[order], prediction_features.class_ids(features, task.names)[order]
    scores = [prediction_features.scores(features, f"score_{name}") for name in task.names]
    return cells[order], np.column_stack(scores)[order]


def read_scores(task: ChipClassification, prediction: Prediction, field: str) -> NDArray[np.float32]:
    """Return the scores (cell,) of a field in the order of ``read_cells``; none without the field."""
    features = prediction.features("cells")
    if field not in features.fields:
        return np.empty(0, np.float32)
    cells = _cells(features, task.cell_size)
    return prediction_features.scores(features, field)[np.lexsort((cells[:, 0], cells[:, 1]))]


def _cells(features: Features, cell_size: int) -> Cells:
    """Return features as cells; raise PredictionError if they are not cells of ``cell_size`` px."""
    edges = shapely.bounds(features.geometry)
    cells = np.rint(edges).astype(np.int64)
    (width, height), (right, bottom) = (cells[:, 2:] - cells[:, :2]).T, cells[:, 2:].T
    beside = np.abs(edges - cells).max(1, initial=0)
    slanted = np.abs(shapely.area(features.geometry) - width * height) > OFF * 2 * (width + height)
    small = ((width < cell_size) & (right < right.max(initial=0))) | (
        (height < cell_size) & (bottom < bottom.max(initial=0))
    )
    large = np.maximum(width, height) > cell_size
    wrong = np.flatnonzero((beside > OFF) | slanted | small | large | (np.minimum(width, height) < 1))
    size = f"squares of {cell_size} px along pixels' edges, cut only at the lower and right edge"
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
