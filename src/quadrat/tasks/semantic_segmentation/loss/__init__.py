"""Logits of every pixel: their loss, and the scores that they become."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.common.loss import ClassLoss
from quadrat.tasks.common.outputs import Signature
from quadrat.tasks.common.targets import Target
from quadrat.tasks.semantic_segmentation.section import SegmentationLoss, SemanticSegmentation

if TYPE_CHECKING:
    import torch


class Loss(ClassLoss[SemanticSegmentation]):
    """Cross-entropy and Dice over labelled pixels; outputs are ``scores`` (chip, class, y, x)."""

    deepness: ClassVar[str | None] = "Segmentor"

    def loss(
        self,
        loss: SegmentationLoss,
        outputs: "torch.Tensor",
        target: Mapping[str, "torch.Tensor"],
        class_shares: Sequence[float],
    ) -> "torch.Tensor":
        """Return the loss of logits (chip, class, y, x) on ``classes`` (chip, y, x).

        ``class_shares`` are the classes' shares of the training pixels. Dice: the batch's soft Dice of the classes that
        it holds (Milletari et al. 2016).
        """
        import torch
        from torch.nn.functional import cross_entropy, one_hot

        truth = target["classes"].long()
        counted = truth != IGNORE
        if not counted.any():
            return outputs.sum() * 0
        weights = torch.tensor([s**-loss.class_balance if s > 0 else 0.0 for s in class_shares], device=outputs.device)
        weights = weights / weights[weights > 0].mean()
        total = cross_entropy(
            outputs, truth, weights.to(outputs.dtype), ignore_index=IGNORE, label_smoothing=loss.label_smoothing
        )
        if loss.dice:
            logits = outputs.movedim(1, -1)[counted].float()  # (pixel, class)
            likely, true = logits.softmax(-1), one_hot(truth[counted], self.channels).float()
            shared, both = (likely * true).sum(0), (likely + true).sum(0)
            present = true.sum(0) > 0
            total = total + loss.dice * (1 - 2 * shared[present] / both[present]).mean()
        return total

    def activate(self, outputs: "torch.Tensor") -> dict[str, "torch.Tensor"]:
        """Return ``scores`` (chip, class, y, x) that sum to 1, from logits."""
        import torch

        logits = outputs.float()
        if torch.onnx.is_in_onnx_export():  # onnxruntime's own softmax over planes takes ten times as long
            powers = (logits - logits.amax(1, keepdim=True)).exp()
            return {"scores": powers / powers.sum(1, keepdim=True)}
        return {"scores": logits.contiguous().softmax(1)}  # several times as fast, class after class

    def pixel_classes(self, target: Target, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Return ``classes`` (chip, y, x)."""
        classes: NDArray[np.uint8] = target["classes"]
        return classes

    def labelled_pixels(self, class_counts: NDArray[np.int64], chip_pixels: int) -> int:
        """Return the sum: pixels are what is counted."""
        return int(class_counts.sum())

    def decided(self, outputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.intp]:
        """Return the class id of each pixel (chip, y, x)."""
        ids: NDArray[np.intp] = outputs["scores"].argmax(1)
        return ids

    def signature(self) -> Signature:
        """Return what a model gives: a score for each class at every pixel."""
        return Signature(
            f"a score for each of {len(self.task.classes)} classes at every pixel; a pixel's scores sum to 1",
            {"scores": "(window, class, y, x): each class's score at every pixel"},
            "labels = scores.argmax(1)  # (window, y, x)",
            {"scores": ("window", self.channels, "y", "x")},
            "Near a window's edge it sees less: let windows overlap.",
        )
