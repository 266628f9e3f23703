"""The kinds of model, and the one place that lists them."""

from typing import Annotated

from pydantic import Field

from quadrat.models.forest import Forest
from quadrat.models.model import Fitted, Inputs, Outputs, Predictor, Recipe, Train
from quadrat.models.model import Model as ModelContract
from quadrat.models.network import Network

Model = Annotated[Forest | Network, Field(discriminator="kind")]

__all__ = ["Fitted", "Forest", "Inputs", "Model", "ModelContract", "Network", "Outputs", "Predictor", "Recipe", "Train"]
