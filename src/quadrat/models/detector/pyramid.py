"""Features at several strides: a timm encoder with torchvision's feature pyramid (Lin et al. 2017)."""

from collections.abc import Sequence

import timm
from timm.models import FeatureInfo
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from quadrat.models.common.encoders import Encoder

GROUP = 16
"""Channels per group of group normalisation (Wu & He 2018), because batches of large chips are small."""


def grouped(channels: int) -> nn.GroupNorm:
    """Return a layer that normalises a multiple of ``GROUP`` channels."""
    return nn.GroupNorm(channels // GROUP, channels)


class Pyramid(nn.Module):
    """Maps with the same number of channels, the finest first; levels coarser than the encoder's are convolved."""

    def __init__(self, encoder: Encoder, bands: int, strides: Sequence[int], channels: int) -> None:
        """Use the stages of ``encoder`` with these ``strides``; raise ValueError if it lacks the finest."""
        super().__init__()
        has = _stages(timm.create_model(encoder.name, features_only=True, **encoder.arguments)).reduction()
        stages = [number for number, stride in enumerate(has) if stride in strides]
        taken = [has[number] for number in stages]
        if taken != list(strides[: len(taken)]) or not taken:
            raise ValueError(f"the encoder {encoder.name} has the strides {has}, of {list(strides)}")
        self.strides, self.channels = tuple(strides), channels
        self.encoder: nn.Module = timm.create_model(
            encoder.name,
            features_only=True,
            out_indices=stages,
            in_chans=bands,
            **encoder.arguments,
        )
        coarser = Coarser(channels, len(strides) - len(taken))
        widths = _stages(self.encoder).channels()
        self.last = widths[-1]
        """The channels of the encoder's coarsest map."""
        self.pyramid = FeaturePyramidNetwork(widths, channels, coarser, grouped)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return a map (chip, channel, y / stride, x / stride) for each stride, of pixels (chip, band, y, x)."""
        stages = {str(number): features for number, features in enumerate(self.encoder(image))}
        return list(self.pyramid(stages).values())


class Coarser(ExtraFPNBlock):  # type: ignore[misc]  # torchvision has no types
    """Further maps of a pyramid, each half as fine as the one before."""

    def __init__(self, channels: int, count: int) -> None:
        """Add ``count`` maps."""
        super().__init__()
        self.halve = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, channels, 3, 2, 1), grouped(channels), nn.ReLU()) for _ in range(count)
        )

    def forward(
        self, results: list[Tensor], x: list[Tensor], names: list[str]
    ) -> tuple[list[Tensor], list[str]]:  # torchvision's signature
        """Return the pyramid's maps with the added ones, and all their names."""
        del x
        maps = list(results)
        for halve in self.halve:
            maps.append(halve(maps[-1]))
        return maps, [*names, *(f"coarser{number}" for number in range(len(self.halve)))]


def _stages(encoder: nn.Module) -> FeatureInfo:
    """Return timm's description of an encoder's maps."""
    assert isinstance(encoder.feature_info, FeatureInfo)
    return encoder.feature_info
