"""Networks that predict by torch."""

import torch
from torch import Tensor

from quadrat.models.common.devices import autocast, compiled, on_device
from quadrat.models.common.model import DevicePredictor, Outputs, Pixels
from quadrat.models.common.trainable import TrainableModule


class TorchPredictor(DevicePredictor):
    """A network on its device, in that device's precision."""

    def __init__(self, network: TrainableModule) -> None:
        """Take a network, and compile it where torch is to."""
        self._network = network.to(memory_format=torch.channels_last)
        compiled(self._network)

    def __call__(self, pixels: Pixels) -> Outputs:
        """Return outputs on the processor."""
        return {name: values.cpu().numpy() for name, values in self.tensors(on_device(pixels)).items()}

    def tensors(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return outputs (float32) of raw pixels (chip, band, y, x), both on the device."""
        with torch.inference_mode(), autocast():
            outputs = self._network(pixels)
        return {name: values.float() for name, values in outputs.items()}
