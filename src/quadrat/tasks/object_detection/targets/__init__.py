"""Labels as upright boxes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.targets import Target, TaskTargets
from quadrat.tasks.object_detection.section import ObjectDetection
from quadrat.tasks.object_detection.targets.labelled_boxes import labelled_boxes
from quadrat.tasks.object_detection.targets.overlaps import areas, centred, clipped, solid

if TYPE_CHECKING:
    import torch

    from quadrat.labels.labels import Labels


class Targets(TaskTargets[ObjectDetection]):
    """Targets are ``boxes`` (box, 5): left, top, right, bottom in px of the window, and the class id or IGNORE."""

    ragged: ClassVar[frozenset[str]] = frozenset({"boxes"})

    def label_counts(self, labels: "Labels", window: Window, counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how many boxes of each class (K,) have their centre in a strip, where it counts."""
        bounds, class_ids = labelled_boxes(self.task, labels, window)
        return self._bincount(class_ids[centred(bounds, window, counted)])

    def target(self, labels: "Labels", window: Window, counted: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return ``boxes`` (box, 5): left, top, right, bottom in px of the window, none beyond it, and the class id.

        That is IGNORE for a box whose centre doesn't count, that the catalog drops, or of which too much is cut off.
        """
        bounds, class_ids = labelled_boxes(self.task, labels, window)
        inside = clipped(bounds, window)
        share = areas(inside) / areas(bounds)
        taught = centred(bounds, window, counted) & (
            share >= (self.task.min_inside_fraction if self.task.partial == "clip" else 1)
        )
        boxes = np.column_stack([inside - [window.col, window.row] * 2, np.where(taught, class_ids, IGNORE)])
        boxes = boxes.astype(np.float32)
        return {"boxes": boxes[solid(boxes[:, :4])]}  # what is left of a box may be less than rounding

    def class_counts(self, target: Target) -> NDArray[np.int64]:
        """Return how many boxes of each class (K,) a target holds."""
        return self._bincount(target["boxes"][:, 4].astype(np.uint8))

    def most_labels(self, features: NDArray[Any], wanted: NDArray[np.bool_], size: int) -> float:
        """Return all boxes of the scene."""
        return float(features[wanted].sum())

    def turn(self, target: Mapping[str, "torch.Tensor"], symmetry: int, size: int) -> dict[str, "torch.Tensor"]:
        """Return ``boxes`` (chip, box, 5) under a symmetry of the square."""
        import torch

        from quadrat.tasks.common.symmetries import turn_boxes

        boxes = target["boxes"]
        return {"boxes": torch.cat([turn_boxes(boxes[..., :4], symmetry, size), boxes[..., 4:]], -1)}

    def _bincount(self, class_ids: NDArray[np.uint8]) -> NDArray[np.int64]:
        return np.bincount(class_ids, minlength=IGNORE + 1)[: len(self.task.classes)]
