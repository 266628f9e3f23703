"""Networks for a whole window: a model of timm with its own pooling and a linear head."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from quadrat.models.model import Inputs
from quadrat.models.neural import Neural
from quadrat.tasks.task import ScoredTask, Task, Unit

if TYPE_CHECKING:
    from quadrat.models.learnable import Learnable


class Classifier(Neural):
    """A network that says something of a window as a whole."""

    units: ClassVar[frozenset[Unit]] = frozenset({"cells"})

    kind: Literal["classifier"]
    encoder: str
    """Name of a timm model that takes windows of any size; ``timm.list_models()`` lists them."""
    dropout: float = Field(ge=0, lt=1)
    """Share of the pooled features that are left out in training, before the last layer."""

    @property
    def example(self) -> tuple[int, int, int]:
        """Chips, height and width, px, that the export traces: larger than what strides of 32 px leave nothing of."""
        return 2, 64, 96

    def assemble(self, task: Task, inputs: Inputs) -> "Learnable":
        """Return the untrained network: logits (chip, channel) become the task's outputs."""
        import timm

        from quadrat.models.learnable import Normalised

        assert isinstance(task, ScoredTask)
        body = timm.create_model(
            self.encoder,
            pretrained=self.pretrained,
            in_chans=len(inputs.bands),
            num_classes=task.channels,
            drop_rate=self.dropout,
        )
        if timm.get_pretrained_cfg_value(self.encoder, "fixed_input_size"):
            raise ValueError(
                f"{self.encoder} takes windows of one size alone, which its weights depend on: "
                "choose an encoder that takes any, such as a resnet, convnext or efficientnet"
            )
        return Normalised(body, inputs, task)
