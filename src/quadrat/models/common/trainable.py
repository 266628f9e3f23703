"""What networks are, whatever their task: a module behind a normaliser, so that raw values go in wherever it runs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from quadrat.models.common.model import Inputs
from quadrat.tasks.common.parts import logit_loss_of
from quadrat.tasks.common.section import TaskSection

CLIP = 5.0
"""Normalised values further from the mean than this, in standard deviations, are taken for this: clouds and glints."""


class TrainableModule(nn.Module, ABC):
    """What is fitted, restored and exported. Normalises: (raw - mean) / std by band, clipped; 0 without a value.

    In time series NaN stands where there is no value, for ``quadrat.models.common.dates`` to know.
    """

    mean: Tensor
    std: Tensor
    nodata: Tensor
    one_graph: bool = False
    """Whether loss and network are one graph: nothing in them depends on values, so that torch can compile all."""

    def __init__(self, inputs: Inputs) -> None:
        """Take means and deviations of the training pixels from ``inputs``."""
        super().__init__()
        self.images_per_chip = max(1, inputs.dates)
        """How many images go through it for each chip: one for each date."""
        self.channels = len(inputs.bands)
        """Bands of a chip, on all dates."""
        deviations = [s.std or 1.0 for s in inputs.statistics]  # a constant band says nothing: all 0
        self._keep("mean", [s.mean for s in inputs.statistics] * self.images_per_chip)  # all dates of a band alike
        self._keep("std", deviations * self.images_per_chip)
        self._keep("nodata", [float("nan") if b.nodata is None else b.nodata for b in inputs.bands])
        self._blank = float("nan") if inputs.dates else 0.0
        self._whole = all(band.nodata is None for band in inputs.bands)

    def normalise(self, raw: Tensor) -> Tensor:
        """Return (chip, band, y, x), float32, in standard deviations from the mean, from -CLIP to CLIP.

        ``raw`` may be of the type in which pixels are stored. Whole numbers are finite: where no band has a nodata
        value, they are all valid, and what takes longest on a processor is left out.
        """
        values = raw.float()
        if self._whole and not raw.is_floating_point():
            return values.sub_(self.mean).div_(self.std).clamp_(-CLIP, CLIP)
        valid = values != self.nodata
        if raw.is_floating_point():
            valid = valid & torch.isfinite(values)
        return torch.where(valid, ((values - self.mean) / self.std).clamp(-CLIP, CLIP), self._blank)

    def prepared(self, raw: Tensor) -> Tensor:
        """Return the same as convolutions like it: its bands side by side."""
        return self.normalise(raw).contiguous(memory_format=torch.channels_last)

    @abstractmethod
    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Return the outputs of raw pixels, by name."""

    def class_weights(self, loss: Any, class_shares: Sequence[float]) -> list[float]:
        """Return the weights of classes in the loss, whose shares of the training labels are ``class_shares``."""
        del loss
        return [1.0] * len(class_shares)

    @abstractmethod
    def loss(self, normalised: Tensor, target: Mapping[str, Tensor], loss: Any, class_weights: Tensor) -> Tensor:
        """Return the loss of normalised pixels (chip, band, y, x) on targets (chip, …).

        ``loss`` is the task's section of that name; ``class_weights`` (class,) are those that the method of this name
        tells.
        """

    @abstractmethod
    def examined(
        self, raw: Tensor, target: Mapping[str, Tensor], loss: Any, class_weights: Tensor
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return outputs and loss at once, to validate; the loss is None where it can't be told without learning."""

    @abstractmethod
    def sizes(self, raw: Tensor) -> dict[int, tuple[int, int]]:
        """Return height and width of what is said of places in ``raw`` (chip, band, y, x), by the px between two."""

    def _keep(self, name: str, values: list[float]) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=torch.float32)[:, None, None])


class Normalised(TrainableModule):
    """A network that gives logits, behind its normaliser; its task knows their loss, and what they mean."""

    def __init__(self, body: nn.Module, inputs: Inputs, task: TaskSection) -> None:
        """Put ``body`` behind the normaliser of ``inputs``."""
        super().__init__(inputs)
        self.body = body
        self._loss = logit_loss_of(task)
        self.one_graph = not inputs.dates  # of dates, those without a value are left out

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Return the task's outputs of raw pixels, by name."""
        return self._loss.activate(self.body(self.prepared(raw)))

    def class_weights(self, loss: Any, class_shares: Sequence[float]) -> list[float]:
        """Return the task's."""
        return self._loss.class_weights(loss, class_shares)

    def loss(self, normalised: Tensor, target: Mapping[str, Tensor], loss: Any, class_weights: Tensor) -> Tensor:
        """Return the task's loss of the body's logits."""
        return self._loss.loss(loss, self.body(normalised), target, class_weights)

    def examined(
        self, raw: Tensor, target: Mapping[str, Tensor], loss: Any, class_weights: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return outputs and loss of the same logits."""
        logits = self.body(self.prepared(raw))
        return self._loss.activate(logits), self._loss.loss(loss, logits, target, class_weights)

    def sizes(self, raw: Tensor) -> dict[int, tuple[int, int]]:
        """Return those of a map of all pixels; nothing where chips are answered as a whole."""
        logits = self.body(self.prepared(raw))
        return {1: (logits.shape[2], logits.shape[3])} if logits.ndim == 4 else {}


class Listed(nn.Module):
    """A network for export: its outputs in the order of their names, without the names."""

    def __init__(self, network: nn.Module) -> None:
        """Take the network."""
        super().__init__()
        self.network = network

    def forward(self, raw: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of raw pixels."""
        return tuple(self.network(raw).values())
