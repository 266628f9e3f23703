"""The kinds of model, and the one place that lists them."""

from typing import Annotated, get_args

from pydantic import Field

from quadrat.models.detector import Detector
from quadrat.models.forest import Forest
from quadrat.models.model import Fitted, Inputs, Outputs, Predictor, Recipe, Train
from quadrat.models.model import Model as ModelContract
from quadrat.models.network import Network
from quadrat.tasks import Unit

Model = Annotated[Forest | Network | Detector, Field(discriminator="kind")]
"""What learns."""
Baseline = Forest
"""What it is compared with."""
Fit = Model
"""Either."""


def serving(unit: Unit) -> list[str]:
    """Return the kinds of model that label ``unit``."""
    kinds: tuple[type[ModelContract], ...] = get_args(get_args(Fit)[0])
    return [get_args(kind.model_fields["kind"].annotation)[0] for kind in kinds if unit in kind.units]


__all__ = [
    "Baseline",
    "Detector",
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
