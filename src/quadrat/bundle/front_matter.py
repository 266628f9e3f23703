"""The head of a bundle's README: what Hugging Face's model hub reads of it."""

from collections.abc import Mapping
from typing import Any

from quadrat.bundle.stac_item import slug
from quadrat.models.model_folder import ModelCard
from quadrat.runtime.formats.yaml import dumped
from quadrat.tasks.common.parts import loss_of


def front_matter(title: str, card: ModelCard, evaluated: Mapping[str, Any]) -> str:
    """Return the model card's metadata as YAML between lines ``---``; ``evaluated`` is ``metrics/eval.json``.

    The licence is unknown: who publishes the model says it.
    """
    loss = loss_of(card.task)
    tags = ["remote-sensing", "earth-observation", "geospatial", "onnx", "quadrat", loss.stac]
    content: dict[str, Any] = {"license": "unknown", "library_name": "onnx"}
    if loss.hub is not None:
        content["pipeline_tag"] = loss.hub
    content["tags"] = tags
    metrics = [
        {"type": name, "value": value}
        for name, value in evaluated.get("overall", {}).items()
        if isinstance(value, (int, float)) and name != "support"
    ]
    if metrics and loss.hub is not None:
        split = next((name for name in evaluated if name in {"Test", "Validation"}), "Held-out").lower()
        result = {
            "task": {"type": loss.hub},
            "dataset": {"name": f"{split} scenes", "type": "quadrat"},
            "metrics": metrics,
        }
        content["model-index"] = [{"name": slug(title), "results": [result]}]
    return f"---\n{dumped(content).decode()}---\n\n"
