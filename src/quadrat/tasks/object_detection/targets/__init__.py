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
from quadrat.tasks.object_detection.targets.uncounted import covering

if TYPE_CHECKING:
    import torch

    from quadrat.labels.labels import Labels


class Targets(TaskTargets[ObjectDetection]):
    """Targets are ``boxes`` (box, 5): left, top, right, bottom in px of the window, and the class id or IGNORE."""

    ragged: ClassVar[frozenset[str]] = frozenset({"boxes"})

    def label_counts(self, labels: "Labels", window: Window, counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the number of boxes of each class (K,) with their centre on a counted pixel of a strip."""
        bounds, class_ids = labelled_boxes(self.task, labels, window)
        return self._bincount(class_ids[centred(bounds, window, counted)])

    def target(self, labels: "Labels", window: Window, counted: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return ``boxes`` (box, 5): left, top, right, bottom in px of the window, cut at its edge, and the class id.

        The id is IGNORE if the box's centre does not count, the catalog drops it, or too much of it is cut off; and of
        boxes around ground that does not count, which may show objects without labels.
        """
        bounds, class_ids = labelled_boxes(self.task, labels, window)
        inside = clipped(bounds, window)
        share = areas(inside) / areas(bounds)
        taught = centred(bounds, window, counted) & (
            share >= (self.task.min_inside_fraction if self.task.partial == "clip" else 1)
        )
        boxes = np.column_stack([inside - [window.col, window.row] * 2, np.where(taught, class_ids, IGNORE)])
        boxes = boxes.astype(np.float32)
        boxes = boxes[solid(boxes[:, :4])]  # the rest of a box may be empty after rounding
        hidden = covering(~counted)
        unknown = np.column_stack([hidden, np.full(len(hidden), IGNORE)]).astype(np.float32)
        return {"boxes": np.concatenate([boxes, unknown])}

    def class_counts(self, target: Target) -> NDArray[np.int64]:
        """Return the number of boxes of each class (K,) in a target."""
        return self._bincount(target["boxes"][:, 4].astype(np.uint8))

    def most_labels(self, features: NDArray[Any], selected: NDArray[np.bool_], size: int) -> float:
        """Return all boxes of the scene."""
        return float(features[selected].sum())

    def known(self, target: Mapping[str, "torch.Tensor"]) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return ``boxes`` (chip, box, 5), and which of them are objects of a class."""
        boxes = target["boxes"]
        mask = (boxes[..., 4:] < len(self.task.classes)).expand_as(boxes)
        return boxes.where(mask, 0), mask

    def unlabelled(self, chips: int, size: int) -> "dict[str, torch.Tensor]":
        """Return ``boxes`` (chip, 1, 5), all padding."""
        import torch

        return {"boxes": torch.full((chips, 1, 5), torch.nan)}

    def turn(
        self, target: Mapping[str, "torch.Tensor"], symmetry: "torch.Tensor", size: int
    ) -> dict[str, "torch.Tensor"]:
        """Return ``boxes`` (chip, box, 5) under symmetries of the square (chip,)."""
        import torch

        from quadrat.tasks.common.symmetries import turn_boxes

        boxes = target["boxes"]
        return {"boxes": torch.cat([turn_boxes(boxes[..., :4], symmetry, size), boxes[..., 4:]], -1)}

    def _bincount(self, class_ids: NDArray[np.uint8]) -> NDArray[np.int64]:
        return np.bincount(class_ids, minlength=IGNORE + 1)[: len(self.task.classes)]
