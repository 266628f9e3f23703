"""The kinds of model, and the one place that lists them."""

from typing import Annotated, Any, get_args

from pydantic import Field

from quadrat.models.classifier.classifier import Classifier
from quadrat.models.common.model import Epoch, Fitted, Inputs, Kind, Outputs, Predictor, Recipe, Sizes, Train, unwatched
from quadrat.models.common.model import Model as ModelContract
from quadrat.models.detector.detector import Detector
from quadrat.models.forest.forest import Forest
from quadrat.models.peaks.peaks import Peaks
from quadrat.models.plugin.plugin import PluginModel
from quadrat.models.segmenter.segmenter import Segmenter
from quadrat.tasks.common.section import TaskSection

Model = Annotated[Classifier | Detector | Forest | PluginModel | Segmenter, Field(discriminator="kind")]
"""A model that is trained and bundled."""
Baseline = Annotated[Forest | Peaks, Field(discriminator="kind")]
"""A model to compare with."""
Fit = Annotated[Classifier | Detector | Forest | PluginModel | Segmenter | Peaks, Field(discriminator="kind")]
"""Either."""


def serving(task: TaskSection, union: Any = Fit) -> list[str]:
    """Return the kinds, of one of these unions, that learn a task."""
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
    "Outputs",
    "Peaks",
    "PluginModel",
    "Predictor",
    "Recipe",
    "Segmenter",
    "Sizes",
    "Train",
    "serving",
    "unwatched",
]
