"""Targets of semantic segmentation: a class id for every pixel."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE, counting
from quadrat.geo.grids.windows import Window
from quadrat.geo.statistics.histogram import occurrences
from quadrat.tasks.common.targets import Target, TaskTargets
from quadrat.tasks.semantic_segmentation.section import SemanticSegmentation

if TYPE_CHECKING:
    import torch

    from quadrat.labels.labels import Labels


class Targets(TaskTargets[SemanticSegmentation]):
    """Targets are ``classes`` (y, x): class ids, IGNORE where unlabelled or not counted."""

    @property
    def reach(self) -> float:
        """A pixel is labelled by areas that cover its centre, or touch it."""
        return 2 if self.task.all_touched else 0

    def label_counts(self, labels: "Labels", window: Window, counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the number of pixels of each class (K,) in a strip."""
        return self.class_counts(self.target(labels, window, counted))

    def target(self, labels: "Labels", window: Window, counted: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return ``classes`` (y, x): class ids, IGNORE where unlabelled or not ``counted``."""
        return {"classes": counting(labels.class_ids(window, all_touched=self.task.all_touched), counted)}

    def class_counts(self, target: Target) -> NDArray[np.int64]:
        """Return the number of pixels of each class (K,) in a target."""
        return occurrences(target["classes"], len(self.task.classes))

    def most_labels(self, features: NDArray[Any], selected: NDArray[np.bool_], size: int) -> float:
        """Return the number of px of a chip."""
        return float(size**2)

    def is_useful(self, target: Target) -> bool:
        """Return whether any pixel has a class."""
        return bool((target["classes"] != IGNORE).any())

    def known(self, target: Mapping[str, "torch.Tensor"]) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return class ids (chip, y, x), int64, and where there is a label."""
        mask = target["classes"] < len(self.task.classes)
        return target["classes"].long() * mask, mask

    def unlabelled(self, chips: int, size: int) -> "dict[str, torch.Tensor]":
        """Return ``classes`` (chip, y, x), all IGNORE."""
        import torch

        return {"classes": torch.full((chips, size, size), IGNORE, dtype=torch.uint8)}
