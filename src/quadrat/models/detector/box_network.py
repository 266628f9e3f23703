"""The base of all detectors: outputs and loss from one forward pass."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from quadrat.models.common.model import Inputs
from quadrat.models.common.trainable import TrainableModule
from quadrat.models.detector.pyramid import Pyramid

Seen = TypeVar("Seen")
"""The raw result of a forward pass."""


@dataclass(frozen=True)
class Losses:
    """The losses of classes and of boxes."""

    classification: Tensor
    boxes: Tensor


class BoxNetwork(TrainableModule, Generic[Seen]):
    """A detector: scores (chip, location, class) from 0 to 1 and boxes (chip, location, 4) in px of the window.

    Boxes are cut at the window's edge, as labels are; one beyond it has no area.
    Targets are ``boxes`` (chip, box, 5): left, top, right, bottom, class id; rows of NaN are padding.
    """

    def __init__(self, pyramid: Pyramid, inputs: Inputs) -> None:
        """Take features from ``pyramid``."""
        super().__init__(inputs)
        self.pyramid = pyramid

    @abstractmethod
    def look(self, normalised: Tensor, target: Tensor | None = None) -> Seen:
        """Run the network on normalised pixels (chip, band, y, x); training may also need the ``target``."""

    @abstractmethod
    def outputs(self, seen: Seen) -> dict[str, Tensor]:
        """Return scores and boxes."""

    @abstractmethod
    def losses(self, seen: Seen, target: Tensor) -> Losses:
        """Return the losses of a raw result against the target."""

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Return scores and boxes of raw pixels."""
        return self._cut(self.look(self.prepared(raw)), raw)

    def loss(self, normalised: Tensor, target: Mapping[str, Tensor], loss: Any, class_weights: Tensor) -> Tensor:
        """Return the loss: those of classes and boxes, weighted by the keys of ``loss``."""
        del class_weights  # the focal loss already handles rare classes
        return _weighed(self.losses(self.look(normalised, target["boxes"]), target["boxes"]), loss)

    def examined(
        self, raw: Tensor, target: Mapping[str, Tensor], loss: Any, class_weights: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return outputs and loss of one forward pass."""
        del class_weights
        seen = self.look(self.prepared(raw))
        return self._cut(seen, raw), _weighed(self.losses(seen, target["boxes"]), loss)

    def _cut(self, seen: Seen, raw: Tensor) -> dict[str, Tensor]:
        """Return scores, and boxes that are cut."""
        outputs = self.outputs(seen)
        return {**outputs, "boxes": within(outputs["boxes"], raw.shape[-2], raw.shape[-1])}

    def sizes(self, raw: Tensor) -> dict[int, tuple[int, int]]:
        """Return those of each level of the pyramid."""
        maps = self.pyramid(self.prepared(raw))
        return {s: (m.shape[2], m.shape[3]) for s, m in zip(self.pyramid.strides, maps, strict=True)}


def within(boxes: Tensor, height: int | Tensor, width: int | Tensor) -> Tensor:
    """Return boxes (…, 4), cut at the edges of a window."""
    right, bottom = (
        side if isinstance(side, Tensor) else torch.full((), side, device=boxes.device) for side in (width, height)
    )  # of an export, which may be of any size, they are tensors; a device isn't sent numbers
    return boxes.clamp(min=0).minimum(torch.stack([right, bottom, right, bottom]).to(boxes))


def _weighed(losses: Losses, loss: Any) -> Tensor:
    return loss.classification * losses.classification + loss.boxes * losses.boxes  # type: ignore[no-any-return]
