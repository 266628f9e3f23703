"""The canvas of chip classification."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.cells import as_cells, boxes, middle
from quadrat.geo.grids.windows import Window
from quadrat.tasks.chip_classification.section import HALF, LISTED, ChipClassification
from quadrat.tasks.common.calibration import Calibration
from quadrat.tasks.common.outputs import Features


class CellCanvas:
    """Collects the cells of a row of windows, and gives their parts on the grid as features."""

    def __init__(
        self, task: ChipClassification, area: Window, grid: Window, calibration: Calibration | None = None
    ) -> None:
        """Start empty; only ``area`` of the ``grid`` counts. Classes follow from the scores before ``calibration``."""
        self._task, self._area, self._grid, self._calibration = task, area, grid, calibration
        self._names = np.array(task.names, object)
        self._row: int | None = None
        self._cells: list[Window] = []
        self._scores: list[NDArray[np.float32]] = []

    def paste(
        self, window: Window, outputs: Mapping[str, NDArray[np.float32]], valid: NDArray[np.bool_]
    ) -> Iterator[Features]:
        """Take ``scores`` (class,) of a window; give the row of cells above.

        Cells without a valid pixel in the area are dropped.
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
        """Give the remaining cells; if there are none, empty fields."""
        yield self._features()

    def _features(self) -> Features:
        cells = as_cells(self._cells)
        scores = np.array(self._scores, np.float32).reshape(-1, len(self._names))
        self._cells, self._scores = [], []
        shown = scores if self._calibration is None else self._calibration.applied(scores, 1)
        own: dict[str, NDArray[Any]] = {f"score_{name}": s for name, s in zip(self._names, shown.T, strict=True)}
        if self._task.multi_label:
            listed = [LISTED.join(self._names[there]) for there in scores >= HALF]
            return Features("cells", boxes(cells), {"class": np.array(listed, object), **own})
        ids = scores.argmax(1).astype(np.uint8)
        fields = {
            "class": self._names[ids],
            "class_id": ids,
            "score": shown.max(1, initial=0),
            "uncalibrated": scores.max(1, initial=0),
        }
        return Features("cells", boxes(cells), {**fields, **own})
