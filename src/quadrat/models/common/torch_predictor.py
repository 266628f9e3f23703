"""Networks that predict by torch."""

from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quadrat.models.common.devices import autocast, compiled, device, on_device
from quadrat.models.common.model import DevicePredictor, Outputs, Pixels
from quadrat.models.common.trainable import TrainableModule

PIXELS = 32 * 256 * 256
"""Most px that go through a network at once: while it is busy with some, others are read and written."""

SHARE = 0.6
"""Share of a GPU's free memory that a batch may take."""


class TorchPredictor(DevicePredictor):
    """A network on its device, in that device's precision."""

    def __init__(self, network: TrainableModule) -> None:
        """Take a network, and compile it where torch is to."""
        super().__init__()
        self._network = network.to(memory_format=torch.channels_last)
        self._fitting: dict[tuple[Any, ...], int] = {}
        self._measuring = Lock()
        compiled(self._network)

    def __call__(self, pixels: Pixels) -> Outputs:
        """Return outputs on the processor."""
        with self.turn:
            return {name: values.cpu().numpy() for name, values in self.tensors(on_device(pixels)).items()}

    def tensors(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return outputs (float32) of raw pixels (chip, band, y, x), both on the device."""
        with torch.inference_mode(), autocast():
            outputs = self._network(pixels)
        return {name: values.float() for name, values in outputs.items()}

    def windows_at_once(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> int:
        """Return how many windows of ``shape`` (band, y, x) have PIXELS, and fit a GPU's memory, as measured by two."""
        with self._measuring:  # scenes that begin together wait for the first one
            if (shape, dtype) not in self._fitting:
                most = max(1, PIXELS // (shape[1] * shape[2]))
                self._fitting[shape, dtype] = min(most, self._fit(np.zeros((2, *shape), dtype)) or most)
            return self._fitting[shape, dtype]

    def _fit(self, pair: Pixels) -> int | None:
        """Return how many windows like two fit the memory of a GPU, at least one; None without one."""
        if device().type != "cuda":
            return None
        with torch.compiler.set_stance("force_eager"):  # it would be compiled for two first, then for any number
            self(pair)  # what is set up once doesn't count
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            self(pair)
        each = (torch.cuda.max_memory_allocated() - before) / len(pair)
        free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return max(1, int(SHARE * free / each))
