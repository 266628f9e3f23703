"""train: fit the model and the baseline to the chips."""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from quadrat.chips.store import Chips, open_chips
from quadrat.errors import InputError
from quadrat.geo.statistics.analysis_files import read_statistics, read_table
from quadrat.models import Baseline, Fit, Fitted, Inputs, Model, Recipe, Train, unwatched
from quadrat.models.model_folder import NONE, OWN, ModelCard, SavedModel, keep, kept, write_model
from quadrat.models.training.calibrating import calibrate
from quadrat.models.training.live_metrics import live
from quadrat.models.training.processes import warn_of_one
from quadrat.plugins.finding import versions as plugin_versions
from quadrat.plugins.section import plugins_in
from quadrat.runtime.cache.hashes import Hashes
from quadrat.runtime.cache.snapshot import Snapshot
from quadrat.runtime.files import check_own, replaced, write_json
from quadrat.runtime.progress import console
from quadrat.runtime.provenance.origin import Origin, unknown, versions
from quadrat.runtime.run import Paths, Run
from quadrat.tasks import Task
from quadrat.tasks.common.metrics import rounded


@dataclass(frozen=True)
class TrainParams:
    """The sections that train takes."""

    seed: int
    task: Task
    bands: tuple[str, ...]
    model: Model
    baseline: Baseline | None
    lr: float
    epochs: int
    batch_size: int
    train: Train


def train(params: TrainParams, paths: Paths, run: Run) -> None:
    """Write the model folder, the baseline's, metrics of the fit on the validation chips, and the curves.

    ``paths.checkpoints`` holds the checkpoint from which an interrupted fit of the same inputs and code resumes.
    Raises InputError if chips, statistics or weights to start from are changed meanwhile; then no model is written, and
    the checkpoint is removed.
    """
    for folder in (paths.model_folder, paths.baseline_folder):
        check_own(folder, OWN)  # before hours of training
    warn_of_one(params.model)
    begun = Snapshot.of(paths.chips, paths.stats, paths.table, paths.weights)
    task, chips, splits = params.task, paths.chips, ("train", "validation")
    training, validation = (open_chips(chips, split, task.columns, params.bands) for split in splits)
    inputs = Inputs(training.bands, read_statistics(paths.stats))
    recipe = Recipe(params.seed, params.lr, params.epochs, params.batch_size, params.train)
    gsd = float(read_table(paths.table, ["split", "gsd"]).query("split == 'train'")["gsd"].median())
    chip_files = [chips / "chips.json", chips / "index.parquet", paths.stats, *sorted(chips.glob("*/*.npy"))]
    weight_files = sorted(file for file in paths.weights.rglob("*") if file.is_file())
    known = {file: found for file, (_, found) in Hashes(paths.hashes).of_all([*chip_files, *weight_files]).items()}
    learnt = tuple(known[file] for file in chip_files)  # the index has no hash of pixels and targets
    start = tuple(known[file] for file in weight_files)
    begun = replace(begun, hashes=known)
    plugins = plugin_versions(plugins_in(params.model, params.train), paths.plugins)
    metrics: dict[str, Mapping[str, float | int | None]] = {}

    def fit(to: Path, kind: Fit, watch: Callable[[Fitted], None], before: Fitted | None = None) -> Fitted:
        own, origin = kind.own_inputs(inputs), run.origin or unknown("train")
        made_with = {**versions(), **(plugins if kind is params.model else {})}
        checkpoint = paths.checkpoints / _identity(learnt + start, task, kind, recipe, (origin.code, made_with))
        fitted = before or kind.fit(training, validation, task, own, replace(recipe, watch=watch), checkpoint)
        if before is None:
            fitted = _calibrated(fitted, kind, validation, params, own)
        _check_unchanged(begun, paths.checkpoints)
        told = origin.model_copy(update={"versions": made_with})
        card = _card(task, kind, own, training, gsd, told).model_copy(update={"calibration": fitted.calibration})
        write_model(to, SavedModel(card, fitted.weights))
        shown = ", ".join(f"{name} {value:.4g}" for name, value in fitted.metrics.items() if value is not None)
        console.print(f"{kind.kind}: {shown} (validation)", highlight=False, soft_wrap=True)
        return fitted

    def write(fitted: Fitted) -> None:
        _write_curves(paths.curves, fitted)
        write_json(paths.train_metrics, {**metrics, "model": rounded(fitted.metrics)})

    if params.baseline is None:  # the quick one first
        _write_none(paths.baseline_folder)
    else:
        name = _baseline_identity(learnt, params, run)
        before = None if name is None else kept(paths.kept_baseline, name)
        fitted = fit(paths.baseline_folder, params.baseline, unwatched, before)
        if name is not None and before is None:
            keep(paths.kept_baseline, name, fitted)
        metrics["baseline"] = rounded(fitted.metrics)
    with live(paths.checkpoints / "live", write, paths.train_metrics, paths.curves) as watch:
        write(fit(paths.model_folder, params.model, watch))
    run.check()  # before the checkpoint is removed: with the parameters of the start, it is soon there again
    shutil.rmtree(paths.checkpoints, ignore_errors=True)


def _calibrated(fitted: Fitted, kind: Fit, validation: Chips, params: TrainParams, inputs: Inputs) -> Fitted:
    """Return the fit with its calibration, and the temperature among the metrics if all classes share one."""
    task = params.task
    predictor = kind.restore(fitted.weights, task, inputs)
    found = calibrate(predictor, validation, task, params.seed, max(1, inputs.dates))
    if found is None or not found.exclusive:
        return replace(fitted, calibration=found)
    return replace(fitted, calibration=found, metrics={**fitted.metrics, "temperature": found.temperatures[0]})


def _check_unchanged(begun: Snapshot, checkpoints: Path) -> None:
    """Raise InputError if an input was changed; then nobody may resume from what was learnt of it."""
    try:
        begun.check()
    except InputError:
        shutil.rmtree(checkpoints, ignore_errors=True)
        raise


def _card(task: Task, model: Fit, inputs: Inputs, chips: Chips, gsd: float, origin: Origin) -> ModelCard:
    return ModelCard(
        format=1,
        task=task,
        model=model,
        bands=inputs.bands,
        statistics=inputs.statistics,
        size=int(chips.index["height"].iloc[0]),
        gsd=gsd,
        class_counts={n: int(p) for n, p in zip(task.names, chips.class_counts(), strict=True)},
        versions=origin.versions,
        origin=origin,
    )


def _identity(learnt: tuple[str, ...], task: Task, model: Fit, recipe: Recipe, made_with: object) -> str:
    """Return a name of this fit, which depends on chips, weights to start from, parameters, code and versions."""
    return hashlib.sha256(repr((learnt, task, model, recipe, made_with)).encode()).hexdigest()[:16]


def _baseline_identity(learnt: tuple[str, ...], params: TrainParams, run: Run) -> str | None:
    """Return a name of the baseline's fit, which depends on its code, too; None where that is not known.

    Baselines take nothing of the recipe but the seed.
    """
    code = None if run.origin is None else run.origin.code
    if code is None or run.force:
        return None
    told = (learnt, params.task, params.bands, params.baseline, params.seed, code, versions())
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _write_none(folder: Path) -> None:
    """Write a folder with a note, because DVC requires every output to exist and warns of empty ones."""
    with replaced(folder, OWN, synced=True) as part:
        part.mkdir()
        (part / NONE).write_text("no baseline\n", encoding="utf-8")


def _write_curves(path: Path, fitted: Fitted) -> None:
    columns = ["epoch", "lr", "train_loss", "validation_loss", "validation_macro_f1"]
    more = [name for name in (fitted.history or [{}])[0] if name not in columns]
    with replaced(path, synced=True) as part:
        pd.DataFrame(fitted.history, columns=[*columns, *more]).to_csv(part, index=False, float_format="%.6g")
