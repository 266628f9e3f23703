"""The network of the weights: a U-Net over the EfficientNet-B4 of segmentation-models-pytorch, not of timm."""

import segmentation_models_pytorch as smp
from torch import nn


def unet(bands: int, channels: int) -> nn.Module:
    """Return the network, without weights."""
    network: nn.Module = smp.Unet("efficientnet-b4", encoder_weights=None, in_channels=bands, classes=channels)
    return network
