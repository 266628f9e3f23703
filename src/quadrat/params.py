"""``params.yaml``, typed: all that changes a result; and every section by name, for Python files that compose them."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from quadrat.errors import ParamsError
from quadrat.evaluation.pictures import Pictures
from quadrat.geo.sources.source import Source
from quadrat.geo.vectors.widths import Width
from quadrat.labels.raster import RasterLabels
from quadrat.labels.stac import StacLabels
from quadrat.labels.vector import VectorLabels
from quadrat.models import Baseline, Classifier, Detector, Forest, Model, Peaks, Segmenter, Train, serving
from quadrat.models.common.model import Augment
from quadrat.models.detector.detector import FasterRcnn, Fcos, RetinaNet
from quadrat.pipeline.analyze import Analyze
from quadrat.pipeline.bundle import Bundle
from quadrat.pipeline.chip import Chip, Random, Sliding
from quadrat.pipeline.eval import Eval
from quadrat.prediction.sliding_window import Predict
from quadrat.runtime.formats.section import Section
from quadrat.runtime.formats.yaml import check, dumped, read
from quadrat.scenes.catalog import Catalog, SceneEntry
from quadrat.scenes.image import Clear, Image
from quadrat.tasks import ChipClassification, Class, ObjectDetection, SemanticSegmentation, Task
from quadrat.tasks.chip_classification.section import CellLayers, ClassificationLoss, Rule
from quadrat.tasks.object_detection.section import DetectionLayers, DetectionLoss, DetectionMatch, Suppression
from quadrat.tasks.semantic_segmentation.section import (
    Edges,
    RightAngled,
    SegmentationLayers,
    SegmentationLoss,
    Simplified,
)

__all__ = [
    "Analyze",
    "Augment",
    "Bundle",
    "Catalog",
    "CellLayers",
    "Chip",
    "ChipClassification",
    "Class",
    "ClassificationLoss",
    "Classifier",
    "Clear",
    "DetectionLayers",
    "DetectionLoss",
    "DetectionMatch",
    "Detector",
    "Edges",
    "Eval",
    "FasterRcnn",
    "Fcos",
    "Forest",
    "Image",
    "ObjectDetection",
    "Params",
    "Peaks",
    "Pictures",
    "Predict",
    "Random",
    "RasterLabels",
    "RetinaNet",
    "RightAngled",
    "Rule",
    "SceneEntry",
    "SegmentationLayers",
    "SegmentationLoss",
    "Segmenter",
    "SemanticSegmentation",
    "Simplified",
    "Sliding",
    "Source",
    "StacLabels",
    "Suppression",
    "Train",
    "VectorLabels",
    "Width",
]

OWN = (("train", "loss"), ("predict", "layers"))
"""Sections of which each task has its own."""


class Params(Section):
    """The keys of ``params.yaml``. Each stands there, for DVC watches them by name; what is in them may be left out."""

    scenes: Path
    """The catalog."""
    raw: Path
    """The folder of the catalog's images and labels, for DVC to watch."""
    aoi: Path
    """The folder of the catalog's areas of interest, for DVC to watch."""
    seed: int = Field(ge=0)
    """What is drawn at random is drawn from this: chips, first weights, batches, augmentation, the forest."""
    task: Task
    """What is learnt of the labels."""
    bands: tuple[str, ...] = Field(min_length=1)
    """The bands that a model takes, by name, in order."""
    analyze: Analyze
    chip: Chip
    model: Model
    """What learns."""
    baseline: Baseline | None
    """A simple model of the same task, to see what the first is worth; null for none."""
    lr: float = Field(gt=0)
    """Largest learning rate."""
    epochs: int = Field(ge=1)
    """Most passes over the training chips."""
    batch_size: int = Field(ge=1)
    """Chips in a training step."""
    train: Train
    predict: Predict
    eval: Eval
    bundle: Bundle

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.bands)) < len(self.bands):
            raise ValueError(f"bands must differ: {', '.join(self.bands)}")
        for name, own in (("train.loss", self.train.loss), ("predict.layers", self.predict.layers)):
            if own.kind != self.task.kind:
                raise ValueError(f"{name} is of another task: {own.kind}, where task.kind is {self.task.kind}")
        for name, model, union in (("model", self.model, Model), ("baseline", self.baseline, Baseline)):
            if model is not None and not model.serves(self.task):
                able = " or ".join(serving(self.task, union))
                hint = f"{able} can" if able else "none can, so it must be null"
                raise ValueError(f"{name}.kind {model.kind} can't learn this task, {self.task.kind}: {hint}")
        if self.task.matches != (self.eval.match is not None):
            needed = "say when a detection is right" if self.task.matches else "be null"
            raise ValueError(f"eval.match must {needed} for the task {self.task.kind}")
        for name, named in (
            ("chip.target_classes", self.chip.target_classes or ()),
            ("predict.layers", self.predict.layers.named()),
        ):
            unknown = sorted(set(named) - set(self.task.names))
            if unknown:
                raise ValueError(f"{name} names no class of the task: {', '.join(unknown)}")
        self._check_windows()
        return self

    def _check_windows(self) -> None:
        for key, size in (("chip.chip_size", self.chip.chip_size), ("predict.window_size", self.predict.window_size)):
            if size % self.model.divisor:
                raise ValueError(f"{key} must be a multiple of {self.model.divisor} for this model: {size}")
            if size < self.task.labelled_size(size):
                raise ValueError(f"{key} must hold what the task labels, {self.task.labelled_size(size)} px: {size}")
        widest = self.task.labelled_size(self.predict.window_size)
        if self.predict.stride > widest:
            raise ValueError(f"predict.stride {self.predict.stride} leaves gaps: {widest} px at most for this task")


def read_params(path: Path) -> Params:
    """Read the parameters at ``path``; raise ParamsError naming the file, the key and the nearest valid key."""
    return check_params(read(path, ParamsError), path)


def check_params(content: Any, path: Path) -> Params:
    """Return what ``params.yaml`` holds as parameters; raise ParamsError as ``read_params`` does, naming ``path``."""
    return check(_with_kinds(content), Params, ParamsError, path)


def written(params: Params) -> bytes:
    """Return ``params`` as a file that ``read_params`` reads; the task's own sections don't repeat its kind."""
    content = params.model_dump(mode="json", by_alias=True)
    for section, key in OWN:
        del content[section][key]["kind"]
    return dumped(content)


def _with_kinds(content: Any) -> Any:
    """Give the sections of which each task has its own the task's kind, where they don't say it."""
    try:
        kind = content["task"]["kind"]
        own = {
            section: {**content[section], key: {"kind": kind, **content[section].get(key, {})}} for section, key in OWN
        }
    except (AttributeError, TypeError, KeyError):
        return content  # what is missing is told when it is checked
    return {**content, **own}
