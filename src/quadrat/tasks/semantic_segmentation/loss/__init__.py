"""Logits of every pixel: their loss, and the scores that they become."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from quadrat.tasks.common.loss import ClassLoss, Evidence
from quadrat.tasks.common.outputs import Signature
from quadrat.tasks.common.targets import Target
from quadrat.tasks.semantic_segmentation.section import SegmentationLoss, SemanticSegmentation

if TYPE_CHECKING:
    import torch


class Loss(ClassLoss[SemanticSegmentation]):
    """Cross-entropy and Dice over labelled pixels; outputs are ``scores`` (chip, class, y, x)."""

    deepness: ClassVar[str | None] = "Segmentor"
    sets: ClassVar[bool] = True
    stac: ClassVar[str] = "semantic-segmentation"
    hub: ClassVar[str | None] = "image-segmentation"

    def evidence(self, target: Target, outputs: Mapping[str, NDArray[np.float32]]) -> Evidence:
        """Return ``classes`` (chip, y, x) and scores (chip, y, x, class)."""
        return Evidence(target["classes"], np.moveaxis(outputs["scores"], 1, -1))

    def balanced(self, loss: SegmentationLoss, class_shares: Sequence[float]) -> list[float]:
        """Return weights whose mean is 1; 0 of classes that no training pixel has."""
        weights = [share**-loss.class_balance if share > 0 else 0.0 for share in class_shares]
        mean = sum(weights) / max(1, sum(weight > 0 for weight in weights))
        return [weight / (mean or 1) for weight in weights]

    def loss(
        self,
        loss: SegmentationLoss,
        outputs: "torch.Tensor",
        target: Mapping[str, "torch.Tensor"],
        class_weights: "torch.Tensor",
    ) -> "torch.Tensor":
        """Return the loss of logits (chip, class, y, x) on ``classes`` (chip, y, x).

        Dice: the batch's soft Dice of the classes that it holds (Milletari et al. 2016).
        """
        from quadrat.tasks.common.cross_entropy import by_class, cross_entropy, one_hot, share
        from quadrat.tasks.common.together import total

        true = one_hot(target["classes"], self.channels)
        logs = outputs.float().contiguous().log_softmax(1)  # several times as fast, class after class
        summed = cross_entropy(logs, true, class_weights, loss.label_smoothing)
        if loss.dice:
            likely, pixels = logs.exp(), total(by_class(true))
            both = total(by_class(likely, true.any(1, keepdim=True))) + pixels
            alike, present = share(2 * total(by_class(likely, true)), both), pixels > 0
            summed = summed + loss.dice * share((1 - alike).where(present, 0).sum(), present.sum())
        return summed

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
