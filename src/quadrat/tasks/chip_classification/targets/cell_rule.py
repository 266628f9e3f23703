"""The rule that gives classes to cells, for polygons and rasters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.geo.grids.cells import ROUNDING, Cells, Pieces, bands, frame, pixel_counts, sizes
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.chip_classification.section import ChipClassification, Rule

if TYPE_CHECKING:
    from quadrat.labels.labels import Labels, Ranked
    from quadrat.labels.objects import Objects

NOT_THERE, THERE = 0, 1
"""Values for the presence of a class in a cell, beside IGNORE for unknown."""


def labelled_cells(task: ChipClassification, labels: "Labels", cells: Cells) -> NDArray[np.uint8]:
    """Return the labels' class ids (cell,), or with ``multi_label`` the presence of each class (cell, class)."""
    rule = CellRule(task.rule, len(task.classes))
    return rule.presence(labels.ranked, cells) if task.multi_label else rule.class_ids(labels.ranked, cells)


class CellRule:
    """Applies the section ``task.rule`` to cells, for each of a scene's labels in order of priority."""

    def __init__(self, rule: Rule, classes: int) -> None:
        """Use ``rule``, for so many classes."""
        self._rule, self._classes = rule, classes

    def class_ids(self, parts: Sequence["Ranked"], cells: Cells) -> NDArray[np.uint8]:
        """Return the class id of each cell (cell,) from the first of ``parts`` that gives one; else IGNORE."""
        ids = np.full(len(cells), IGNORE, np.uint8)
        for some in bands(cells):
            for part in parts:
                missing = some[ids[some] == IGNORE]
                if missing.size:
                    ids[missing] = self._one(part, cells[missing])
        return ids

    def presence(self, parts: Sequence["Ranked"], cells: Cells) -> NDArray[np.uint8]:
        """Return for each cell and class (cell, class): 1 if any of ``parts`` has the class there, else 0.

        IGNORE if unlabelled or dropped ground could hold it. The class ``background`` is present if no other is.
        """
        there = np.full((len(cells), self._classes), IGNORE, np.uint8)
        for some in bands(cells):
            given = [self._several(part, cells[some]) for part in parts]
            together = np.stack(given)
            known = np.where((together == NOT_THERE).any(0), np.uint8(NOT_THERE), np.uint8(IGNORE))
            there[some] = np.where((together == THERE).any(0), np.uint8(THERE), known)
            empty = some[(there[some] == NOT_THERE).all(1)]
            background = next((part.background for part in parts if part.background != IGNORE), None)
            if background is not None:
                there[empty, background] = THERE
        return there

    def _one(self, part: "Ranked", cells: Cells) -> NDArray[np.uint8]:
        window = frame(cells)
        objects = part.objects(window)
        if objects is None:
            counts = pixel_counts(cells, part.class_ids(window, all_touched=False), window, self._classes)
            enough = counts.sum(1) >= np.maximum(self._least(cells), 1)
            return np.where(enough, counts.argmax(1), IGNORE).astype(np.uint8)
        areas, claimed = self._claims(Pieces.of(cells, objects.geometry), objects)
        fits = claimed[:, : self._classes]
        if self._rule.choose == "largest":  # of those that are equal but for rounding, the first
            covered = np.where(fits, areas[:, : self._classes], 0)
            fits = fits & (covered >= (1 - ROUNDING) * covered.max(1, keepdims=True))
        unclaimed = np.where(claimed[:, self._classes], IGNORE, part.background)
        return np.where(fits.any(1), fits.argmax(1), unclaimed).astype(np.uint8)

    def _several(self, part: "Ranked", cells: Cells) -> NDArray[np.uint8]:
        window, least = frame(cells), self._least(cells)[:, None]
        objects = part.objects(window)
        if objects is None:
            counts = pixel_counts(cells, part.class_ids(window, all_touched=False), window, self._classes)
            claimed, possible = counts >= least, counts + (sizes(cells) - counts.sum(1))[:, None] >= least
        else:
            pieces = Pieces.of(cells, objects.geometry)
            areas, claimed = self._claims(pieces, objects)
            areas, claimed = areas[:, : self._classes], claimed[:, : self._classes]
            unlabelled = self._unlabelled(pieces, objects, part.background)[:, None]
            open_ = unlabelled > ROUNDING * sizes(cells)[:, None]
            possible = open_ if self._rule.share_of == "polygon" else open_ & (areas + unlabelled >= least)
        return np.where(claimed, THERE, np.where(possible, IGNORE, NOT_THERE)).astype(np.uint8)

    def _claims(self, pieces: Pieces, objects: "Objects") -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the px² (cell, class + 1) per class, the last for dropped features, and which are enough."""
        group = np.minimum(objects.class_ids, self._classes).astype(np.intp)
        if self._rule.share_of == "polygon":
            whole = shapely.area(objects.geometry)
            pieces = pieces.some(pieces.area >= self._share * whole[pieces.owner])
            areas = pieces.covered(group[pieces.owner], self._classes + 1)
            return areas, areas > 0
        areas = pieces.covered(group[pieces.owner], self._classes + 1)
        return areas, areas >= self._least(pieces.cells)[:, None]

    def _unlabelled(self, pieces: Pieces, objects: "Objects", background: int) -> NDArray[np.float64]:
        """Return the unlabelled px² of each cell: without a class, or dropped."""
        dropped = (objects.class_ids == IGNORE)[pieces.owner]
        known = pieces.some(~dropped)
        labelled, covered = (some.covered(np.zeros(len(some.cell), np.intp), 1)[:, 0] for some in (known, pieces))
        return (sizes(pieces.cells).astype(np.float64) if background == IGNORE else covered) - labelled

    def _least(self, cells: Cells) -> NDArray[np.float64]:
        least: NDArray[np.float64] = self._share * sizes(cells).astype(np.float64)
        return least

    @property
    def _share(self) -> float:
        return self._rule.min_share * (1 - ROUNDING)
