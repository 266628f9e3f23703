"""The kinds of model, and the one place that lists them."""

from typing import Annotated, get_args

from pydantic import Field

from quadrat.models.classifier import Classifier
from quadrat.models.forest import Forest
from quadrat.models.model import Fitted, Inputs, Outputs, Predictor, Recipe, Train
from quadrat.models.model import Model as ModelContract
from quadrat.models.network import Network
from quadrat.tasks.task import Task

Model = Annotated[Classifier | Forest | Network, Field(discriminator="kind")]
"""What learns."""
Baseline = Forest
"""What it is compared with."""
Fit = Model
"""Either."""


def serving(task: Task) -> list[str]:
    """Return the kinds of model that learn a task."""
    kinds: tuple[type[ModelContract], ...] = get_args(get_args(Fit)[0])
    return [get_args(kind.model_fields["kind"].annotation)[0] for kind in kinds if kind.serves(task)]


__all__ = [
    "Baseline",
    "Classifier",
    "Fit",
    "Fitted",
    "Forest",
    "Inputs",
    "Model",
    "ModelContract",
    "Network",
    "Outputs",
    "Predictor",
    "Recipe",
    "Train",
    "serving",
]
