"""The normaliser that a network carries, so that raw values go in wherever it runs."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from quadrat.models.model import Inputs

CLIP = 5.0
"""Normalised values further from the mean than this, in standard deviations, are taken for this: clouds and glints."""


class Normalised(nn.Module):
    """A network behind its normaliser: (raw - mean) / std by band, clipped; 0, the mean, where there is no value."""

    mean: Tensor
    std: Tensor
    nodata: Tensor

    def __init__(self, body: nn.Module, inputs: Inputs) -> None:
        """Take means and deviations of the training pixels from ``inputs``."""
        super().__init__()
        self.body = body
        self._keep("mean", [s.mean for s in inputs.statistics])
        self._keep("std", [s.std or 1.0 for s in inputs.statistics])  # a constant band says nothing: all 0
        self._keep("nodata", [float("nan") if b.nodata is None else b.nodata for b in inputs.bands])

    def normalise(self, raw: Tensor) -> Tensor:
        """Return (chip, band, y, x) in standard deviations from the mean, from -CLIP to CLIP."""
        valid = torch.isfinite(raw) & (raw != self.nodata)
        return torch.where(valid, (raw - self.mean) / self.std, 0.0).clamp(-CLIP, CLIP)

    def forward(self, raw: Tensor) -> Tensor:
        """Return the body's logits of raw pixels."""
        logits: Tensor = self.body(self.normalise(raw))
        return logits

    def _keep(self, name: str, values: list[float]) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=torch.float32)[:, None, None])


class Activated(nn.Module):
    """A network with its task's activation, for export: logits become outputs, in the order of their names."""

    def __init__(self, network: nn.Module, activate: Callable[[Tensor], dict[str, Tensor]]) -> None:
        """Take the network, and what turns its logits into outputs by name."""
        super().__init__()
        self.network = network
        self._activate = activate

    def forward(self, raw: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of raw pixels."""
        return tuple(self._activate(self.network(raw)).values())
