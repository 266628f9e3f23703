"""Networks for a whole window: a model of timm with its own pooling and a linear head."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from quadrat.errors import ModelError
from quadrat.models.model import Fitted, Inputs, Recipe, Samples
from quadrat.models.neural import WRONG, Neural, build
from quadrat.tasks.classes import Unit
from quadrat.tasks.task import ScoredTask, Task

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
        """Chips, height and width, px, that the export traces: so large that something is left of them."""
        return 2, 64, 96

    def fit(
        self, training: Samples, validation: Samples, task: Task, inputs: Inputs, recipe: Recipe, checkpoint: Path
    ) -> Fitted:
        """Learn as every network, once a chip has gone through; raise ModelError where they are too small for it."""
        import torch

        from quadrat.models.devices import as_tensor

        pixels, _ = training.read(np.arange(1))
        network = build(self, task, inputs, recipe.seed).eval()
        try:
            with torch.inference_mode():
                network(as_tensor(pixels))
        except WRONG as error:
            raise ModelError(
                f"the encoder {self.encoder} can't take such chips",
                expected="chips that it leaves something of",
                got=f"{pixels.shape[3]} × {pixels.shape[2]} px: {error}",
                mend="set a larger chip.chip_size, or another model.encoder",
            ) from error
        return super().fit(training, validation, task, inputs, recipe, checkpoint)

    def assemble(self, task: Task, inputs: Inputs) -> "Learnable":
        """Return the untrained network: logits (chip, channel) become the task's outputs."""
        import timm
        from torch import nn

        from quadrat.models.dates import Pooled
        from quadrat.models.learnable import Normalised

        assert isinstance(task, ScoredTask)
        body: Any = timm.create_model(
            self.encoder,
            pretrained=self.pretrained,
            in_chans=len(inputs.statistics),
            num_classes=0 if self.dates else task.channels,
            drop_rate=self.dropout,
        )
        if timm.get_pretrained_cfg_value(self.encoder, "fixed_input_size"):
            raise ValueError(
                f"{self.encoder} takes windows of one size alone, which its weights depend on: "
                "choose an encoder that takes any, such as a resnet, convnext or efficientnet"
            )
        if self.dates:
            width: int = body.head_hidden_size
            pooled = Pooled(body, width, inputs.dates, self.dates)
            body = nn.Sequential(pooled, nn.Dropout(self.dropout), nn.Linear(width, task.channels))
        return Normalised(body, inputs, task)
