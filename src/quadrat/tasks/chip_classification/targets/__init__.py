"""Targets of chip classification: the class of a chip's middle cell, or the presence of each class."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.cells import as_cells, centred, clipped, lattice, margin, middle
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window, cover
from quadrat.tasks.chip_classification.section import ChipClassification
from quadrat.tasks.chip_classification.targets.cell_rule import labelled_cells
from quadrat.tasks.common.targets import Target, TaskTargets

if TYPE_CHECKING:
    import torch

    from quadrat.labels.labels import Labels


class Targets(TaskTargets[ChipClassification]):
    """Targets are ``classes``: the cell's class id (), or with ``multi_label`` 1, 0 or IGNORE of each class (K,)."""

    @property
    def reach(self) -> float:
        """A cell with a centre that counts is labelled by everything in it."""
        return self.task.cell_size

    def label_counts(self, labels: "Labels", window: Window, counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the number of cells of each class (K,) in a strip: the grid's cells whose centre is counted."""
        cells = clipped(lattice(window, self.task.cell_size), labels.area)
        cells = cells[centred(cells, counted, window)]
        return self.class_counts({"classes": labelled_cells(self.task, labels, cells)})

    def target(self, labels: "Labels", window: Window, counted: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return ``classes``: the middle cell's class id (), IGNORE where unlabelled or its centre is not ``counted``.

        With ``multi_label``, (K,): 1 for each class that it has, 0 for the others, IGNORE if unknown.
        """
        cells = clipped(as_cells([middle(window, self.task.cell_size)]), labels.area)
        truth = labelled_cells(self.task, labels, cells[centred(cells, counted, window)])
        return {"classes": truth[0] if len(truth) else np.full(truth.shape[1:], IGNORE, np.uint8)}

    def class_counts(self, target: Target) -> NDArray[np.int64]:
        """Return the number of cells of each class (K,) in targets."""
        classes, count = target["classes"], len(self.task.classes)
        held = np.atleast_2d(classes == 1) if self.task.multi_label else classes.reshape(-1, 1) == range(count)
        counts: NDArray[np.int64] = held.sum(0, dtype=np.int64)
        return counts

    def most_labels(self, features: NDArray[Any], selected: NDArray[np.bool_], size: int) -> float:
        """Return 1 for the cell in a chip's middle, or the number of classes that it may have."""
        return float(np.count_nonzero(selected)) if self.task.multi_label else 1.0

    def is_useful(self, target: Target) -> bool:
        """Return whether anything is known about the cell; with ``multi_label``, also that it has no class."""
        return bool((target["classes"] != IGNORE).any())

    def validation_windows(self, area: Window, size: int) -> list[Window]:
        """Return a window around each cell of ``area``."""
        return cover(area, size, self.task.cell_size, margin(size, self.task.cell_size))

    def known(self, target: Mapping[str, "torch.Tensor"]) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return class ids (chip,), int64, and which chips have a label.

        With ``multi_label``, 1 or 0 of each class (chip, class), float32, and which classes are known.
        """
        mask = target["classes"] != IGNORE
        truth = target["classes"] * mask
        return truth.float() if self.task.multi_label else truth.long(), mask

    def unlabelled(self, chips: int, size: int) -> "dict[str, torch.Tensor]":
        """Return ``classes`` (chip,), or with ``multi_label`` (chip, K), all IGNORE."""
        import torch

        shape = (chips, len(self.task.classes)) if self.task.multi_label else (chips,)
        return {"classes": torch.full(shape, IGNORE, dtype=torch.uint8)}

    def turn(
        self, target: Mapping[str, "torch.Tensor"], symmetry: "torch.Tensor", size: int
    ) -> dict[str, "torch.Tensor"]:
        """Return the targets unchanged, because classes do not depend on rotation."""
        return dict(target)
