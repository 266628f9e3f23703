"""Networks with an output per pixel: a timm encoder with a decoder of segmentation-models-pytorch."""

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, JsonValue

from quadrat.models.common.encoders import Encoder
from quadrat.models.common.model import Inputs
from quadrat.models.training.neural import Encoded
from quadrat.tasks.common.classes import Unit
from quadrat.tasks.common.parts import logit_loss_of
from quadrat.tasks.common.section import TaskSection

if TYPE_CHECKING:
    from quadrat.models.common.trainable import TrainableModule

Architecture = Literal[
    "unet", "unetplusplus", "manet", "linknet", "fpn", "deeplabv3", "deeplabv3plus", "upernet", "segformer"
]


OWN = ("encoder_name", "encoder_depth", "encoder_weights", "in_channels", "classes", "activation", "aux_params")
"""Arguments of these classes that the network sets itself, or that would change its outputs."""

LARGEST = 4096
"""Largest value of an argument, such as channels, strides or scales."""


class Segmenter(Encoded):
    """A network with an output per pixel."""

    units: ClassVar[frozenset[Unit]] = frozenset({"px", "values"})
    hint: ClassVar[str] = "set model.depth to 5, or choose another model.architecture or model.encoder"

    kind: Literal["segmenter"]
    architecture: Architecture
    """The network's class in segmentation-models-pytorch, by its name there."""
    encoder: str
    """Name of a timm model; ``timm.list_models()`` lists them."""
    depth: int = Field(ge=3, le=5)
    """Number of times that the encoder halves the resolution."""
    decoder: Mapping[str, JsonValue] = {}
    """Further arguments of the architecture's class in segmentation-models-pytorch, e.g. ``decoder_channels``."""
    dropout: float = Field(default=0, ge=0, lt=1)
    """Dropout rate of the decoder's channels, before the last layer."""

    @property
    def divisor(self) -> int:
        """Windows' sides must be multiples of this, px."""
        return 32

    def assemble(self, task: TaskSection, inputs: Inputs, encoder: Encoder) -> "TrainableModule":
        """Return the untrained network: logits (chip, channel, y, x) become the task's outputs."""
        import segmentation_models_pytorch as smp
        import torch

        from quadrat.models.common.dates import Pooled
        from quadrat.models.common.trainable import Normalised

        _check_decoder(smp.MODEL_ARCHITECTURES_MAPPING[self.architecture], self.decoder)
        body = smp.create_model(
            self.architecture,
            encoder_name=f"tu-{encoder.name}",
            encoder_weights=None,
            encoder_depth=self.depth,
            in_channels=len(inputs.statistics),
            classes=logit_loss_of(task).channels,
            **{**encoder.arguments, **self.decoder},
        )
        inner = body.encoder
        if self.dates:
            body.encoder = Pooled(body.encoder, body.encoder.out_channels[-1], inputs.dates, self.dates)
        body.segmentation_head = torch.nn.Sequential(torch.nn.Dropout2d(self.dropout), body.segmentation_head)
        network = Normalised(body, inputs, task)
        network.set_encoder(inner)
        return network


def _check_decoder(architecture: Any, decoder: Mapping[str, JsonValue]) -> None:
    """Raise ValueError for arguments that the architecture lacks, because they would go to timm, which reads files."""
    known = inspect.signature(architecture.__init__).parameters.values()
    able = sorted({each.name for each in known if each.kind is each.POSITIONAL_OR_KEYWORD} - {"self", *OWN})
    wrong = sorted(decoder.keys() - able)
    if wrong:
        raise ValueError(f"decoder takes {', '.join(able)}: not {', '.join(wrong)[:200]}")
    large = [number for number in _numbers(list(decoder.values())) if not abs(number) <= LARGEST]
    if large:
        raise ValueError(f"numbers in decoder are at most {LARGEST}: not {large[0]}")


def _numbers(value: JsonValue) -> Iterator[int | float]:
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _numbers(one)
