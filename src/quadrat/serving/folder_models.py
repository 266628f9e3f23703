"""A model folder in place of a bundle: what has been trained, before the pipeline has bundled it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quadrat.bundle.loading import Runtime
from quadrat.errors import ModelError
from quadrat.models import Predictor
from quadrat.models.model_folder import ModelCard, SavedModel, parent
from quadrat.runtime.provenance.origin import Parent


@dataclass(frozen=True)
class FolderModel:
    """A model folder, and the section ``predict`` of parameters: it predicts as a bundle does."""

    path: Path
    saved: SavedModel
    params: Mapping[str, Any]
    """The parameters, as in ``params.yaml``; of them, ``predict`` counts."""

    @property
    def card(self) -> ModelCard:
        """What the model is, takes and gives."""
        return self.saved.card

    def predictor(self, runtime: Runtime | None) -> Predictor:
        """Return the model, ready to predict; raise ModelError for ``onnx``: only bundles have a graph."""
        if runtime == "onnx":
            raise ModelError("a model folder has no ONNX graph", file=self.path, hint="take the runtime torch")
        make = self.card.model.restore if runtime else self.card.model.served
        return make(self.saved.weights, self.card.task, self.card.inputs)

    def parent(self) -> Parent:
        """Return the folder as the parent in an output's origin."""
        return parent(self.path)
