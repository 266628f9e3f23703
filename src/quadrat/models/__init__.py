"""The kinds of model, and the one place that lists them."""

from typing import Annotated, Any, get_args

from pydantic import Field

from quadrat.models.classifier import Classifier
from quadrat.models.detector import Detector
from quadrat.models.forest import Forest
from quadrat.models.model import Epoch, Fitted, Inputs, Kind, Outputs, Predictor, Recipe, Sizes, Train, unwatched
from quadrat.models.model import Model as ModelContract
from quadrat.models.network import Network
from quadrat.models.peaks import Peaks
from quadrat.tasks.common.base import Task

Model = Annotated[Classifier | Detector | Forest | Network, Field(discriminator="kind")]
"""What learns."""
Baseline = Annotated[Forest | Peaks, Field(discriminator="kind")]
"""What it is compared with."""
Fit = Annotated[Classifier | Detector | Forest | Network | Peaks, Field(discriminator="kind")]
"""Either."""


def serving(task: Task, union: Any = Fit) -> list[str]:
    """Return the kinds that learn a task, of one of the unions above."""
    kinds: tuple[type[Kind], ...] = get_args(get_args(union)[0])
    return [get_args(kind.model_fields["kind"].annotation)[0] for kind in kinds if kind.serves(task)]


__all__ = [
    "Baseline",
    "Classifier",
    "Detector",
    "Epoch",
    "Fit",
    "Fitted",
    "Forest",
    "Inputs",
    "Kind",
    "Model",
    "ModelContract",
    "Network",
    "Outputs",
    "Peaks",
    "Predictor",
    "Recipe",
    "Sizes",
    "Train",
    "serving",
    "unwatched",
]
