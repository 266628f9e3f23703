"""Arguments of every stage: its parameters, the paths of its files, and how it runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from quadrat.runtime.cache.shared_cache import SharedCache
from quadrat.runtime.parallel import Executor, Threads
from quadrat.runtime.provenance.origin import Origin

P = TypeVar("P")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Paths:
    """Paths of the stages' files, relative to the project's folder. ``dvc.yaml`` has the same paths."""

    pins: Path = Path("data/pins.json")
    checked: Path = Path("data/params.checked")
    stats: Path = Path("data/analysis/stats.json")
    table: Path = Path("data/analysis/scenes.parquet")
    warnings: Path = Path("data/analysis/warnings.txt")
    analyze_metrics: Path = Path("metrics/analyze.json")
    class_plot: Path = Path("metrics/plots/classes.csv")
    band_plot: Path = Path("metrics/plots/bands.csv")
    chips: Path = Path("data/chips")
    chip_manifest: Path = Path("data/manifests/chip.json")
    weights: Path = Path("data/weights")
    plugins: Path = Path("plugins")
    """Code of the user's own, which parameters name (``quadrat.plugins``)."""
    model_folder: Path = Path("models/model")
    baseline_folder: Path = Path("models/baseline")
    train_metrics: Path = Path("metrics/train.json")
    curves: Path = Path("metrics/plots/training.csv")
    predictions: Path = Path("data/predictions")
    prediction_manifest: Path = Path("data/manifests/predict.json")
    eval_metrics: Path = Path("metrics/eval.json")
    intervals: Path = Path("metrics/intervals.json")
    class_scores: Path = Path("metrics/plots/class_scores.csv")
    scene_scores: Path = Path("metrics/plots/scene_scores.csv")
    confusion: Path = Path("metrics/plots/confusion.csv")
    areas: Path = Path("metrics/plots/areas.csv")
    reliability: Path = Path("metrics/plots/reliability.csv")
    pictures: Path = Path("metrics/pictures")
    page: Path = Path("metrics/report.html")
    bundle_file: Path = Path("models/bundle.zip")

    checkpoints: Path = Path("models/.checkpoints")
    """Checkpoints of an interrupted training. git and DVC ignore this path and those below."""
    kept_baseline: Path = Path("models/.baseline")
    """The last baseline that was fitted, for trainings of the same chips with other parameters of the model."""
    hashes: Path = Path("data/.hashes.json")
    """Hashes of files that this machine has read."""
    timing: Path = Path("metrics/timing")
    """Times of each stage's last run on this machine."""
    lock: Path = Path("models/.lock")
    """The lock of the workspace; it names the stage that runs."""


@dataclass(frozen=True)
class Part:
    """A part of the scenes, for one of several machines that fill the shared cache."""

    number: int
    """From 1 on."""
    count: int

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this part's share of the items."""
        return items[self.number - 1 :: self.count]


@dataclass(frozen=True)
class Run:
    """Where and how a stage runs. None of it changes a result."""

    executor: Executor = field(default_factory=lambda: Threads(1))
    """Runs the scenes."""
    force: bool = False
    """Redo all scenes, also unchanged ones."""
    batch: int | None = None
    """Windows per batch in predict; None for as many as suit the device."""
    cache: str | None = None
    """The URL of the cache that machines share; None if there is none."""
    part: Part | None = None
    """Make these scenes alone, and only in the shared cache; None for all, in the workspace."""
    origin: Origin | None = None
    """The origin to write into the outputs; None if unknown."""
    check: Callable[[], None] = lambda: None
    """Raises InputError if the parameters' file has other parameters now than the stage was given."""

    def shared(self, stage: str) -> SharedCache | None:
        """Return the shared cache of a stage, if there is one."""
        return SharedCache(self.cache, stage) if self.cache else None


def subset(kind: type[P], params: Any) -> P:
    """Return the parameters of a stage: an instance of the dataclass ``kind`` with its fields from ``params``."""
    return kind(**{each.name: getattr(params, each.name) for each in fields(kind)})  # type: ignore[arg-type] # a dataclass
