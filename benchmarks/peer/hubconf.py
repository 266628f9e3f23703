"""The networks of the comparison, alike for quadrat and for Raster Vision, which loads them from this file."""

from typing import Any

dependencies = ["torch", "torchvision"]


def deeplab(num_classes: int, in_channels: int) -> Any:
    """Return torchvision's DeepLabV3 head over its ResNet-18, of output stride 32: logits under ``out``."""
    from torch import nn
    from torchvision.models import resnet18
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3

    encoder = resnet18(weights=None)
    if in_channels != 3:
        encoder.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
    return DeepLabV3(IntermediateLayerGetter(encoder, {"layer4": "out"}), DeepLabHead(512, num_classes))


def point(num_classes: int, in_channels: int) -> Any:
    """Return a 1 × 1 convolution: next to no computing, so that what surrounds it shows."""
    from torch import nn

    return nn.Conv2d(in_channels, num_classes, 1)
