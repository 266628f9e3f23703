"""Networks for a whole window: a model of timm with its own pooling and a linear head."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from quadrat.models.common.encoders import Encoder
from quadrat.models.common.model import Inputs
from quadrat.models.training.neural import Encoded
from quadrat.tasks.common.classes import Unit
from quadrat.tasks.common.parts import logit_loss_of
from quadrat.tasks.common.section import TaskSection

if TYPE_CHECKING:
    from quadrat.models.common.trainable import TrainableModule


class Classifier(Encoded):
    """A network with one output per window."""

    units: ClassVar[frozenset[Unit]] = frozenset({"cells"})
    hint: ClassVar[str] = "choose another model.encoder"

    kind: Literal["classifier"]
    encoder: str
    """Name of a timm model that takes windows of any size; ``timm.list_models()`` lists them."""
    dropout: float = Field(default=0, ge=0, lt=1)
    """Dropout rate of the pooled features, before the last layer."""

    @property
    def example(self) -> tuple[int, int, int]:
        """Chips, height and width, px, that the export traces; large enough for the deepest encoder."""
        return 2, 64, 96

    def assemble(self, task: TaskSection, inputs: Inputs, encoder: Encoder) -> "TrainableModule":
        """Return the untrained network: logits (chip, channel) become the task's outputs."""
        import timm
        from torch import nn

        from quadrat.models.common.dates import Pooled
        from quadrat.models.common.trainable import Normalised

        channels = logit_loss_of(task).channels
        body: Any = timm.create_model(
            encoder.name,
            in_chans=len(inputs.statistics),
            num_classes=0 if self.dates else channels,
            drop_rate=self.dropout,
            **encoder.arguments,
        )
        if body.pretrained_cfg.get("fixed_input_size"):
            raise ValueError(
                f"{self.encoder} takes windows of one size only, on which its weights depend: "
                "choose an encoder that takes any, such as a resnet, convnext or efficientnet"
            )
        inner = body
        if self.dates:
            width: int = body.head_hidden_size
            pooled = Pooled(body, width, inputs.dates, self.dates)
            body = nn.Sequential(pooled, nn.Dropout(self.dropout), nn.Linear(width, channels))
        network = Normalised(body, inputs, task)
        network.set_encoder(inner)
        return network
