"""The section ``model.start``: what a network's weights are before it is trained."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from quadrat.runtime.formats.section import Name, Section

Positive = Annotated[float, Field(gt=0)]


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len({*names}) < len(names):
        raise ValueError(f"names must differ: {', '.join(names)}")
    return names


Names = Annotated[tuple[Name, ...], Field(min_length=1), AfterValidator(_distinct)]

Part = Literal["network", "encoder"]
"""What is taken: all that fits, or the encoder alone."""

Freeze = Literal["none", "encoder", "norms"]
"""What isn't trained, of what was taken: nothing, the encoder, or the encoder's layers of normalisation."""


class NoStart(Section):
    """Random weights, drawn by ``seed``."""

    kind: Literal["none"]


class TimmStart(Section):
    """timm's weights of ``model.encoder``, fetched by timm. Nearly all know three bands: red, green and blue."""

    kind: Literal["timm"]
    bands: Names
    """What this project calls the bands that the weights know, in the order of the weights."""
    mean: tuple[float, ...] | None = Field(default=None, min_length=1)
    """What the training of the weights subtracted, by band, in raw values of this project's images; null for the mean
    of this project's own train pixels."""
    std: tuple[Positive, ...] | None = Field(default=None, min_length=1)
    """What it divided by, likewise."""


class FileStart(Section):
    """A file of weights by name (a state dict): ``.safetensors``, or ``.pt``, ``.pth`` or ``.bin`` without code.

    The names are timm's, those of segmentation-models-pytorch, or those that timm converts.
    """

    kind: Literal["file"]
    path: Path
    """The file, in data/weights, which DVC watches: .safetensors, .onnx, or .pt, .pth or .bin without code."""
    bands: Names
    """As timm's."""
    mean: tuple[float, ...] | None = Field(default=None, min_length=1)
    """As timm's."""
    std: tuple[Positive, ...] | None = Field(default=None, min_length=1)
    """As timm's."""
    prefix: str | None = None
    """What the names of the encoder's weights begin with, e.g. ``backbone.``; null to find it."""
    part: Part = "network"
    """``encoder`` takes no more than that."""
    classes: Names | None = None
    """The classes that the weights tell apart, in their order; null for a new last layer."""


class BundleStart(Section):
    """A model of quadrat: a bundle, or a model folder."""

    kind: Literal["bundle"]
    bands: Names | None = None
    """What this project calls the model's bands, in their order; null for their own names."""
    path: Path
    """The bundle or the folder, in data/weights, which DVC watches."""
    part: Part = "network"
    """``encoder`` takes no more than that."""
    normaliser: Literal["inherit", "new"] = "inherit"
    """Whether bands that the model knows keep the mean and standard deviation that it learnt with, or get those of this
    project's train pixels."""


Start = Annotated[NoStart | TimmStart | FileStart | BundleStart, Field(discriminator="kind")]
