"""One number for every pixel: its loss, and the value that it becomes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from quadrat.tasks.common.loss import LogitLoss
from quadrat.tasks.common.outputs import Signature
from quadrat.tasks.pixel_regression.section import PixelRegression, RegressionLoss

if TYPE_CHECKING:
    import torch

DECIDED = 100
"""Steps of the range to which values are rounded where runtimes are compared."""


class Loss(LogitLoss[PixelRegression]):
    """Smooth L1 over labelled pixels; outputs are ``values`` (chip, 1, y, x)."""

    stac: ClassVar[str] = "regression"

    def loss(
        self,
        loss: RegressionLoss,
        outputs: "torch.Tensor",
        target: Mapping[str, "torch.Tensor"],
        class_weights: "torch.Tensor",
    ) -> "torch.Tensor":
        """Return the loss of numbers (chip, 1, y, x), 0 and 1 at the ends of the range, on ``values`` (chip, y, x)."""
        from torch import where
        from torch.nn.functional import smooth_l1_loss

        from quadrat.tasks.common.together import total

        low, high = self.task.range
        wanted = (target["values"] - low) / (high - low)
        counted = ~wanted.isnan()
        told, wanted = (where(counted, values, 0) for values in (outputs[:, 0].float(), wanted))
        each = smooth_l1_loss(told, wanted, beta=loss.beta, reduction="sum")
        return total(each) / total(counted.sum()).clamp(min=1)

    def activate(self, outputs: "torch.Tensor") -> dict[str, "torch.Tensor"]:
        """Return ``values`` (chip, 1, y, x), in the labels' own unit."""
        low, high = self.task.range
        return {"values": outputs.float() * (high - low) + low}

    def decided(self, outputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the value of each pixel (chip, y, x), rounded to hundredths of the range."""
        low, high = self.task.range
        steps: NDArray[np.float32] = np.rint((outputs["values"][:, 0] - low) / (high - low) * DECIDED)
        return steps

    def signature(self) -> Signature:
        """Return what a model gives: a value at every pixel."""
        (name,) = self.task.names
        return Signature(
            f"the value of {name} at every pixel",
            {"values": f"(window, 1, y, x): {name} at every pixel, in the unit of the labels"},
            "measured = values[:, 0]  # (window, y, x)",
            {"values": ("window", self.channels, "y", "x")},
            "Near a window's edge it sees less: let windows overlap.",
            "What is measured",
        )
