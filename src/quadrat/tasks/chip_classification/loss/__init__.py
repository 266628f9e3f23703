"""Logits of a chip's middle cell: their loss, and the scores that they become."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.cells import middle
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window
from quadrat.tasks.chip_classification.section import HALF, ChipClassification, ClassificationLoss
from quadrat.tasks.common.loss import ClassLoss, Evidence
from quadrat.tasks.common.outputs import Signature
from quadrat.tasks.common.targets import Target

if TYPE_CHECKING:
    import torch


class Loss(ClassLoss[ChipClassification]):
    """Cross-entropy, or of several classes at once the binary one of each; outputs are ``scores`` (chip, class)."""

    stac: ClassVar[str] = "scene-classification"
    hub: ClassVar[str | None] = "image-classification"

    def evidence(self, target: Target, outputs: Mapping[str, NDArray[np.float32]]) -> Evidence:
        """Return ``classes`` (chip,), or (chip, class), and scores (chip, class)."""
        return Evidence(target["classes"], outputs["scores"])

    @property
    def pool(self) -> int:
        """The cell's side, px."""
        return self.task.cell_size

    def balanced(self, loss: ClassificationLoss, class_shares: Sequence[float]) -> list[float]:
        """Return weights whose mean is 1; classes that no training chip has weigh as much as the rarest."""
        rarest = min((share for share in class_shares if share > 0), default=1.0)
        weights = [max(share, rarest) ** -loss.class_balance for share in class_shares]
        return [weight * len(weights) / sum(weights) for weight in weights]

    def loss(
        self,
        loss: ClassificationLoss,
        outputs: "torch.Tensor",
        target: Mapping[str, "torch.Tensor"],
        class_weights: "torch.Tensor",
    ) -> "torch.Tensor":
        """Return the loss of logits (chip, class) on ``classes``."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        from quadrat.tasks.common.cross_entropy import cross_entropy, one_hot, share
        from quadrat.tasks.common.together import total

        truth, logits, smoothing = target["classes"], outputs.float(), loss.label_smoothing
        if not self.task.multi_label:
            true = one_hot(truth, len(self.task.classes))
            return cross_entropy(logits.log_softmax(1), true, class_weights, smoothing)
        known = truth != IGNORE
        wanted = (truth == 1) * (1 - smoothing) + smoothing / 2
        each = binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        return share(total((each * known * class_weights).sum()), total(known.sum()))

    def activate(self, outputs: "torch.Tensor") -> dict[str, "torch.Tensor"]:
        """Return ``scores`` (chip, class) from logits: they sum to 1, or are each class's own."""
        logits = outputs.float()
        return {"scores": logits.sigmoid() if self.task.multi_label else logits.softmax(1)}

    def pixel_classes(self, target: Target, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Return (chip, y, x): the cell's class at its pixels, IGNORE around it."""
        cell = middle(Window(0, 0, *shape), self.task.cell_size).slices()
        classes = np.full((len(target["classes"]), *shape), IGNORE, np.uint8)
        classes[:, cell[0], cell[1]] = target["classes"][:, None, None]
        return classes

    def labelled_pixels(self, class_counts: NDArray[np.int64], chip_pixels: int) -> int:
        """Return the pixels of all labelled cells."""
        return int(class_counts.sum()) * self.task.cell_size**2

    def decided(self, outputs: Mapping[str, NDArray[np.float32]]) -> NDArray[Any]:
        """Return the class id of each chip (chip,), or for each class whether it is there (chip, class)."""
        decided: NDArray[Any] = outputs["scores"] >= HALF if self.task.multi_label else outputs["scores"].argmax(1)
        return decided

    def signature(self) -> Signature:
        """Return what a model gives: a score for each class of each window."""
        count, side = len(self.task.classes), f"{self.task.cell_size} × {self.task.cell_size} px"
        if self.task.multi_label:
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
