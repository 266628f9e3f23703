"""quadrat: reproducible deep learning on satellite, aerial and drone imagery.

The public Python API, of which docs/python.md shows the use. Each name is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quadrat.api.chips import ChipDataset
    from quadrat.api.prediction import Predictor, load
    from quadrat.api.scenes import Scene, SceneLabels, open_scene
    from quadrat.api.scores import Scores, evaluate
    from quadrat.api.training import Trained, train
    from quadrat.errors import QuadratError

__all__ = [
    "ChipDataset",
    "Predictor",
    "QuadratError",
    "Scene",
    "SceneLabels",
    "Scores",
    "Trained",
    "evaluate",
    "load",
    "open_scene",
    "train",
]

_MODULES = {
    "ChipDataset": "api.chips",
    "Predictor": "api.prediction",
    "QuadratError": "errors",
    "Scene": "api.scenes",
    "SceneLabels": "api.scenes",
    "Scores": "api.scores",
    "Trained": "api.training",
    "evaluate": "api.scores",
    "load": "api.prediction",
    "open_scene": "api.scenes",
    "train": "api.training",
}
"""The module of each name."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'quadrat' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"quadrat.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
