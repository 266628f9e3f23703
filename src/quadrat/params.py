"""The typed ``params.yaml``, which holds all that changes a result; and all sections, for Python configuration."""

from pathlib import Path
from typing import Any, Self, get_args

from pydantic import Field, model_validator

from quadrat.errors import ParamsError
from quadrat.evaluation.intervals import Intervals
from quadrat.evaluation.pictures import Pictures
from quadrat.folds.section import Folds
from quadrat.geo.sources.source import Source
from quadrat.geo.sources.target_grid import TargetGrid
from quadrat.geo.vectors.widths import Width
from quadrat.labels.raster import RasterLabels
from quadrat.labels.stac import StacLabels
from quadrat.labels.vector import VectorLabels
from quadrat.models import Baseline, Classifier, Detector, Forest, Model, Peaks, PluginModel, Segmenter, Train, serving
from quadrat.models.common.model import Augment, PluginAugmentation
from quadrat.models.detector.detector import FasterRcnn, Fcos, RetinaNet
from quadrat.models.start.section import BundleStart, FileStart, NoStart, TimmStart
from quadrat.models.training.neural import Neural
from quadrat.pipeline.analyze import Analyze
from quadrat.pipeline.bundle import Bundle
from quadrat.pipeline.chip import Chip, Random, Sliding
from quadrat.pipeline.eval import Eval
from quadrat.prediction.sliding_window import Predict
from quadrat.runtime.formats.section import Section
from quadrat.runtime.formats.yaml import check, dumped, read
from quadrat.runtime.run import Paths
from quadrat.scenes.catalog import Catalog, SceneEntry
from quadrat.scenes.image import Clear, Image
from quadrat.tasks import (
    ChipClassification,
    Class,
    Layers,
    Loss,
    ObjectDetection,
    PixelRegression,
    PluginLoss,
    SemanticSegmentation,
    Task,
)
from quadrat.tasks.chip_classification.section import CellLayers, ClassificationLoss, Rule
from quadrat.tasks.common.section import WeightedLoss
from quadrat.tasks.object_detection.section import DetectionLayers, DetectionLoss, DetectionMatch, Suppression
from quadrat.tasks.pixel_regression.section import RegressionLayers, RegressionLoss
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
    "BundleStart",
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
    "FileStart",
    "Folds",
    "Forest",
    "Image",
    "Intervals",
    "NoStart",
    "ObjectDetection",
    "Params",
    "Peaks",
    "Pictures",
    "PixelRegression",
    "PluginAugmentation",
    "PluginLoss",
    "PluginModel",
    "Predict",
    "Random",
    "RasterLabels",
    "RegressionLayers",
    "RegressionLoss",
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
    "TargetGrid",
    "TimmStart",
    "Train",
    "VectorLabels",
    "Width",
]

OWN = (("train", "loss"), ("predict", "layers"))
"""Sections whose keys depend on the task."""

PLUGIN = "plugin"
"""The kind of the one section among them that is of no task."""


class Params(Section):
    """The keys of ``params.yaml``. All must be there, because DVC watches them by name."""

    scenes: Path
    """The catalog."""
    raw: Path
    """The folder of the catalog's images and labels, which DVC watches."""
    aoi: Path
    """The folder of the catalog's areas of interest, which DVC watches."""
    seed: int = Field(ge=0)
    """The seed of all random numbers: chips, initial weights, batches, augmentation, the forest."""
    task: Task
    """The task: what to learn from the labels."""
    bands: tuple[str, ...] = Field(min_length=1)
    """The names of the bands that the model takes, in order."""
    analyze: Analyze
    chip: Chip
    model: Model
    """The model."""
    baseline: Baseline | None
    """A simple model of the same task, for comparison; null for none."""
    lr: float = Field(gt=0)
    """The largest learning rate."""
    epochs: int = Field(ge=0)
    """The largest number of passes over the training chips; 0 takes the weights of ``model.start`` as they are."""
    batch_size: int = Field(ge=1)
    """Chips per training step."""
    train: Train
    predict: Predict
    eval: Eval
    bundle: Bundle
    folds: Folds | None = None
    """How `quadrat folds` cuts the ground for cross-validation; null for none."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.bands)) < len(self.bands):
            raise ValueError(f"bands must differ: {', '.join(self.bands)}")
        self._check_own()
        for name, model, union in (("model", self.model, Model), ("baseline", self.baseline, Baseline)):
            if model is not None and not model.serves(self.task):
                able = " or ".join(serving(self.task, union))
                hint = f"{able} can" if able else "no kind can, so it must be null"
                raise ValueError(f"{name}.kind {model.kind} can't learn this task, {self.task.kind}: {hint}")
        if self.task.matches != (self.eval.match is not None):
            needed = "say when a detection is right" if self.task.matches else "be null"
            raise ValueError(f"eval.match must {needed} for the task {self.task.kind}")
        weights = (self.train.loss.class_weights or {}) if isinstance(self.train.loss, WeightedLoss) else {}
        for name, named in (
            ("chip.target_classes", self.chip.target_classes or ()),
            ("predict.layers", self.predict.layers.named()),
            ("train.loss.class_weights", weights),
        ):
            unknown = sorted(set(named) - set(self.task.names))
            if unknown:
                raise ValueError(f"{name} names no class of the task: {', '.join(unknown)}")
        if self.task.names and all(weights.get(name, 1) == 0 for name in self.task.names):
            raise ValueError("train.loss.class_weights leaves no class to learn: all weigh 0")
        self._check_windows()
        self._check_start()
        return self

    def _check_own(self) -> None:
        for name, own in (("train.loss", self.train.loss), ("predict.layers", self.predict.layers)):
            if own.kind not in {self.task.kind, PLUGIN}:
                raise ValueError(f"{name} is of another task: {own.kind}, where task.kind is {self.task.kind}")
        if isinstance(self.train.loss, PluginLoss) and self.task.unit not in PluginLoss.units:
            raise ValueError(f"train.loss can't be a plugin: networks for {self.task.kind} have a loss of their own")

    def _check_windows(self) -> None:
        for key, size in (("chip.chip_size", self.chip.chip_size), ("predict.window_size", self.predict.window_size)):
            if size % self.model.divisor:
                raise ValueError(f"{key} must be a multiple of {self.model.divisor} for this model: {size}")
            if size < self.task.labelled_size(size):
                raise ValueError(f"{key} must hold what the task labels, {self.task.labelled_size(size)} px: {size}")
        widest = self.task.labelled_size(self.predict.window_size)
        if self.predict.stride > widest:
            raise ValueError(f"predict.stride {self.predict.stride} leaves gaps: {widest} px at most for this task")

    def _check_start(self) -> None:
        for path in self.model.files:
            if ".." in path.parts or Paths.weights not in path.parents:
                raise ValueError(f"model.start.path must lie in {Paths.weights}, which DVC watches: {path}")
        if self.epochs or not isinstance(self.model, Neural):
            return
        start = self.model.start
        if start.kind in {"none", "timm"} or getattr(start, "part", "network") == "encoder":  # the rest is random
            raise ValueError(
                "epochs: 0 would leave random weights: let the network learn, or start from a whole network"
            )


class ScoringParams(Section):
    """The keys of ``params.yaml`` that scoring predictions of another program takes; the file may have others."""

    scenes: Path | None = None
    seed: int = Field(default=1, ge=0)
    task: Task
    eval: Eval = Eval()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.task.matches != (self.eval.match is not None):
            needed = "say when a detection is right" if self.task.matches else "be null"
            raise ValueError(f"eval.match must {needed} for the task {self.task.kind}")
        return self


def read_scoring(path: Path) -> ScoringParams:
    """Read the parameters for scoring at ``path``; raise ParamsError as ``read_params`` does."""
    content = read(path, ParamsError)
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if key in ScoringParams.model_fields}
    return check(content, ScoringParams, ParamsError, path)


def read_params(path: Path) -> Params:
    """Read the parameters at ``path``; raise ParamsError naming the file, the key and the nearest valid key."""
    return check_params(read(path, ParamsError), path)


def check_params(content: Any, path: Path) -> Params:
    """Return the content of ``params.yaml`` as parameters; raise ParamsError, naming ``path``."""
    _check_kinds(content, path)
    return check(_with_kinds(content), Params, ParamsError, path)


def written(params: Params) -> bytes:
    """Return ``params`` as bytes that ``read_params`` reads; sections of the task do not repeat its kind."""
    content = params.model_dump(mode="json", by_alias=True)
    for section, key in OWN:
        if content[section][key]["kind"] != PLUGIN:
            del content[section][key]["kind"]
    return dumped(content)


def _check_kinds(content: Any, path: Path) -> None:
    """Raise ParamsError if the task's own sections are of another task, by their kind or else by their keys.

    What else is wrong with them is not looked at.
    """
    others: dict[str, list[str]] = {}
    kind = None
    for (section, key), union in zip(OWN, (Loss, Layers), strict=True):
        keys = {_kind(one): _names(one) for one in get_args(get_args(union)[0]) if _kind(one) != PLUGIN}
        try:
            kind, own = content["task"]["kind"], content[section][key]
            said, given = own.get("kind"), {*own} - {"kind"}
        except (AttributeError, TypeError, KeyError):
            return  # the check reports missing keys
        if kind not in keys:
            return
        if said is None and not given <= keys[kind]:
            said = next((other for other, known in keys.items() if given <= known), None)
        if said in keys and said != kind:
            others.setdefault(said, []).append(f"{section}.{key}")
    if others:
        found = [
            f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} of {one}" for one, names in others.items()
        ]
        raise ParamsError(
            f"{', '.join(found)}, and task.kind is {kind}",
            file=path,
            hint="change task.kind, or give the section the keys that docs/parameters.md lists for this task",
        )


def _kind(section: type[Section]) -> str:
    """Return the kind of sections that have one."""
    (kind,) = get_args(section.model_fields["kind"].annotation)
    return str(kind)


def _names(section: type[Section]) -> set[str]:
    """Return the names of a section's keys, as files have them."""
    return {about.alias or name for name, about in section.model_fields.items()}


def _with_kinds(content: Any) -> Any:
    """Add the task's kind to its own sections, if they lack one."""
    try:
        kind = content["task"]["kind"]
        own = {
            section: {**content[section], key: {"kind": kind, **content[section].get(key, {})}} for section, key in OWN
        }
    except (AttributeError, TypeError, KeyError):
        return content  # the check reports missing keys
    return {**content, **own}
