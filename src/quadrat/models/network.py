"""Networks for dense outputs: a decoder of segmentation-models-pytorch over an encoder of timm."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, JsonValue

from quadrat.models.encoders import Encoder
from quadrat.models.model import Inputs
from quadrat.models.neural import Neural
from quadrat.tasks.classes import Unit
from quadrat.tasks.task import ScoredTask, Task

if TYPE_CHECKING:
    from quadrat.models.learnable import Learnable

Architecture = Literal[
    "unet", "unetplusplus", "manet", "linknet", "fpn", "deeplabv3", "deeplabv3plus", "upernet", "segformer"
]


class Network(Neural):
    """A network that says something of every pixel."""

    units: ClassVar[frozenset[Unit]] = frozenset({"px"})
    mend: ClassVar[str] = "set model.depth to 5, or choose another model.architecture or model.encoder"

    kind: Literal["network"]
    architecture: Architecture
    """The network's class in segmentation-models-pytorch, by its name there."""
    encoder: str
    """Name of a timm model; ``timm.list_models()`` lists them."""
    depth: int = Field(ge=3, le=5)
    """How many times the encoder halves the resolution."""
    decoder: Mapping[str, JsonValue]
    """Further arguments of the architecture's class in segmentation-models-pytorch, e.g. ``decoder_channels``."""
    dropout: float = Field(ge=0, lt=1)
    """Share of the decoder's channels that are left out in training, before the last layer."""

    @property
    def divisor(self) -> int:
        """Windows' sides must be multiples of this, px."""
        return 32

    def assemble(self, task: Task, inputs: Inputs, encoder: Encoder) -> "Learnable":
        """Return the untrained network: logits (chip, channel, y, x) become the task's outputs."""
        import segmentation_models_pytorch as smp
        import torch

        from quadrat.models.dates import Pooled
        from quadrat.models.learnable import Normalised

        assert isinstance(task, ScoredTask)
        body = smp.create_model(
            self.architecture,
            encoder_name=f"tu-{encoder.name}",
            encoder_weights=True if self.pretrained else None,
            encoder_depth=self.depth,
            in_channels=len(inputs.statistics),
            classes=task.channels,
            **{**encoder.arguments, **self.decoder},
        )
        if self.dates:
            body.encoder = Pooled(body.encoder, body.encoder.out_channels[-1], inputs.dates, self.dates)
        body.segmentation_head = torch.nn.Sequential(torch.nn.Dropout2d(self.dropout), body.segmentation_head)
        return Normalised(body, inputs, task)
