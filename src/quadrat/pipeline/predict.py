"""predict: write layers of all scenes except train scenes."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from threading import Lock

from quadrat.errors import ModelError
from quadrat.geo.sources.bands import names_of
from quadrat.models import Baseline, Predictor
from quadrat.models.model_folder import SavedModel, content, parent, read_model
from quadrat.models.training.neural import Neural
from quadrat.plugins.finding import versions
from quadrat.plugins.section import plugins_in
from quadrat.prediction.sliding_window import Predict, check_bands, predict_scene
from quadrat.prediction.writers import files_of as layer_files
from quadrat.runtime.cache.filling import Filling
from quadrat.runtime.cache.hashes import Hashed, Hashes
from quadrat.runtime.cache.scene_cache import SceneCache, files_of, identity
from quadrat.runtime.cache.snapshot import Snapshot
from quadrat.runtime.failures import succeeded
from quadrat.runtime.files import ANY, replaced
from quadrat.runtime.parallel import Executor, Processes, Threads, cores
from quadrat.runtime.progress import console, track
from quadrat.runtime.provenance.origin import Origin, tags, unknown
from quadrat.runtime.run import Paths, Run
from quadrat.scenes.catalog import read_catalog
from quadrat.scenes.input_files import InputFiles, input_files, raise_changes
from quadrat.scenes.pins import check_pins
from quadrat.scenes.scene import Scene
from quadrat.tasks import Task
from quadrat.tasks.common.parts import layers_of, part_module

MODEL, BASELINE = "", "baseline"
"""Folders, within a scene's, of the model's and the baseline's layers."""

READING = Lock()
"""Guards model loading, so that threads load it once."""


@dataclass(frozen=True)
class LoadedModel:
    """A trained model, its folder, and how it covers scenes."""

    folder: Path
    files: Snapshot
    content: str
    plan: Predict
    tags: Mapping[str, str]
    """Origin of run and model for the layers' metadata; does not affect staleness."""
    plugins: Mapping[str, str]
    """Versions of the plugins that it is built of."""
    network: bool
    """Whether torch runs it."""


@dataclass(frozen=True)
class Wanted:
    """The layers to make of a scene: a model for each folder within the scene's."""

    files: InputFiles
    models: Mapping[str, LoadedModel]
    stale: frozenset[str]
    """The folders whose layers must be made; the others are up to date."""

    @property
    def scene(self) -> Scene:
        """The scene, without labels."""
        return self.files.scene

    def unit(self, name: str) -> str:
        """Return the path of a folder of layers below that of all predictions."""
        return (PurePosixPath(self.scene.id) / name).as_posix()


@dataclass(frozen=True)
class PredictParams:
    """The sections that predict takes."""

    scenes: Path
    task: Task
    bands: tuple[str, ...]
    baseline: Baseline | None
    predict: Predict


def predict(params: PredictParams, paths: Paths, run: Run) -> None:
    """Write layers of all scenes but those of split train, a folder for each.

    A scene with labels also gets the baseline's layers, in its folder ``baseline``. Layers that were made of the same
    image, area of interest, model, parameters and code are kept. Raises InputError if a file is changed meanwhile; of a
    scene that was read then, nothing is kept.
    """
    begun = Snapshot.of(params.scenes, paths.pins)
    shown = _predicted(params.scenes)
    shared, made = run.shared("predict"), paths.prediction_manifest
    with SceneCache(paths.predictions, made, paths.hashes, force=run.force, shared=shared) as cache:
        models = _models(params, paths, run.origin or unknown("predict"))
        wanted = _wanted(shown, models, cache.hashes, paths.pins)
        stale = cache.stale(_inputs(wanted, params.task.kind))
        cache.check_own(_files(models, params.task))
        due = _due(wanted, cache.fetch(stale))
        for one, written in _made(due, models, paths.predictions, run):
            for name in one.models:
                cache.done(one.unit(name), written[name], made=name in one.stale)
        _check_unchanged(begun, wanted, models)
        cache.remove_others()
        cache.note(None if run.origin is None else run.origin.inputs)
    console.print(f"predictions: {len(wanted)} scenes, {len(due)} made again")


def predict_part(params: PredictParams, paths: Paths, run: Run) -> None:
    """Write the layers of the scenes of ``run.part`` that the shared cache lacks, and write them there alone.

    So machines that share no files predict all scenes together; predict then finds them there.
    """
    begun = Snapshot.of(params.scenes, paths.pins)
    with Filling.of(run, "predict") as filling:
        models = _models(params, paths, run.origin or unknown("predict"))
        wanted = _wanted(filling.mine(_predicted(params.scenes)), models, filling.hashes, paths.pins)
        due = _due(wanted, filling.lacking(_inputs(wanted, params.task.kind)))
        for one, written in _made(due, models, filling.folder, run):
            for name in one.stale:
                filling.store(one.unit(name), written[name])
        _check_unchanged(begun, wanted, models)
    console.print(f"predictions: {len(due)} of {len(wanted)} scenes made for the shared cache")


def _predicted(scenes: Path) -> list[Scene]:
    """Return the catalog's scenes but those of split train."""
    return [scene for scene in read_catalog(scenes) if scene.split != "train"]


def _made(
    due: Sequence[Wanted], models: Mapping[str, LoadedModel], folder: Path, run: Run
) -> Iterator[tuple[Wanted, dict[str, dict[str, Hashed]]]]:
    """Write stale layers to ``folder``; give each scene with the files of all its layers."""
    executor = _executor(run.executor, models) if due else run.executor
    outcomes = executor.map(partial(_predict, predictions=folder, batch=run.batch), due)
    yield from succeeded((one.scene.id for one in due), track(outcomes, "predict", len(due), "scenes"))


def _check_unchanged(begun: Snapshot, wanted: Sequence[Wanted], models: Mapping[str, LoadedModel]) -> None:
    """Raise InputError if a file of the catalog, of a scene or of a model was changed meanwhile."""
    raise_changes(begun, [one.files for one in wanted])
    for model in models.values():
        model.files.check()


def _due(wanted: Sequence[Wanted], stale: Collection[str]) -> list[Wanted]:
    """Return the scenes of which units are ``stale``, and which those are."""
    units = frozenset(stale)
    marked = [replace(one, stale=frozenset(n for n in one.models if one.unit(n) in units)) for one in wanted]
    return [one for one in marked if one.stale]


def _models(params: PredictParams, paths: Paths, origin: Origin) -> dict[str, LoadedModel]:
    """Return the model and, if there is one, the baseline."""
    folders = (
        {MODEL: paths.model_folder}
        if params.baseline is None
        else {MODEL: paths.model_folder, BASELINE: paths.baseline_folder}
    )
    return {name: _loaded(name, folder, params, origin, paths.plugins) for name, folder in folders.items()}


def _executor(asked: Executor, models: Mapping[str, LoadedModel]) -> Executor:
    """Tell the device; return what runs the scenes: one after the other, but for a GPU, unless more are asked for."""
    if not any(model.network for model in models.values()):
        return asked  # a processor's, and torch takes seconds to load
    from quadrat.models.common.devices import described, scenes_at_once

    console.print(f"predict on {described()}", highlight=False, soft_wrap=True)
    return Threads(scenes_at_once()) if asked in (Threads(1), Processes(1)) else asked


def _loaded(name: str, folder: Path, params: PredictParams, origin: Origin, plugins: Path) -> LoadedModel:
    files = Snapshot.of(folder)
    card = read_model(folder).card
    for what, theirs, ours in (("task", card.task, params.task), ("bands", names_of(card.bands), params.bands)):
        if theirs != ours:
            raise ModelError(
                f"the model learnt another {what}", file=folder, expected=ours, got=theirs, hint="train it"
            )
    told = tags(origin.model_copy(update={"parent": parent(folder)}))
    if name == MODEL:
        layers_of(params.task, card.calibration).check(params.predict.layers)
    plan = params.predict if name == MODEL else _plain(params.predict, params.task, card.model.context)
    made_of, network = versions(plugins_in(card.model), plugins), isinstance(card.model, Neural)
    return LoadedModel(folder, files, content(folder), plan, told, made_of, network)


def _plain(predict: Predict, task: Task, context: int) -> Predict:
    """Return the sliding window with only the overlap that the model's ``context`` needs."""
    stride = layers_of(task).plain_stride(predict.window_size, predict.stride, context)
    return predict.model_copy(update={"stride": stride, "layers": predict.layers.plain()})


def _wanted(shown: Sequence[Scene], models: Mapping[str, LoadedModel], hashes: Hashes, pins: Path) -> list[Wanted]:
    """Return all that is wanted of scenes; the baseline's layers only where labels can score them."""
    plain = [replace(scene, labels=()) for scene in shown]  # labels do not affect predictions
    found = []
    for scene, files in zip(shown, input_files(plain, hashes, check_pins(plain, pins)), strict=True):
        mine = {name: model for name, model in models.items() if name == MODEL or scene.labels}
        found.append(Wanted(files, mine, frozenset(mine)))
    return found


def _inputs(wanted: Sequence[Wanted], kind: str) -> dict[str, str]:
    """Return the identity of each folder of layers, by its unit; ``kind`` is the task's."""
    parts = [part_module(kind, part) for part in ("loss", "layers")]
    precision, found = os.environ.get("QUADRAT_PRECISION"), {}
    for one in wanted:
        scene = one.scene
        split = scene.split if scene.aoi else None  # items of an area of interest may be of one split
        about = {"scene": scene.id, "image": scene.image, "aoi": scene.aoi, "split": split, "files": one.files.contents}
        for name, model in one.models.items():
            made_of = {"model": model.content, "plan": model.plan, "plugins": model.plugins}
            if precision and model.network:
                made_of["precision"] = precision
            found[one.unit(name)] = identity(__name__, *parts, **about, **made_of)
    return found


def _files(models: Mapping[str, LoadedModel], task: Task) -> set[str]:
    """Return patterns of the files that predict makes, below the folder of all predictions."""
    return {
        str(PurePosixPath("*", name, file))
        for name, model in models.items()
        for layer in layers_of(task).written(model.plan.layers.full())
        for file in layer_files(layer)
    }


def _predict(wanted: Wanted, *, predictions: Path, batch: int | None) -> tuple[Wanted, dict[str, dict[str, Hashed]]]:
    """Write the stale layers of a scene, completely or not at all; return the files of each."""
    before = predictions / wanted.scene.id
    with replaced(before, ANY) as part:
        part.mkdir()
        with wanted.files.unchanged():
            _write_stale(wanted, part, batch)
        for name in wanted.models.keys() - wanted.stale:
            (part / name).mkdir(exist_ok=True)
            there = before / name
            for file in [file for file in there.iterdir() if file.is_file()] if there.is_dir() else ():
                file.rename(part / name / file.name)
    return wanted, {name: files_of(before / name) for name in wanted.models}


def _write_stale(wanted: Wanted, part: Path, batch: int | None) -> None:
    """Write the stale layers of a scene to folders in ``part``."""
    scene = wanted.scene
    for name in [name for name in wanted.models if name in wanted.stale]:
        model = wanted.models[name]
        archive, predictor = _read(model.folder, model.content)
        card = archive.card
        with scene.open(names_of(card.bands), card.task, _readers(model)) as opened:
            check_bands(card.bands, opened.raster.bands, scene.id)
            write = partial(predict_scene, tags=model.tags, calibration=card.calibration)
            write(opened, predictor, card.task, model.plan, part / name, batch)
        model.files.check(scene.id)


def _readers(model: LoadedModel) -> int:
    """Return how many threads are to read for a model."""
    if not model.network:
        return min(cores(), 2)
    from quadrat.models.common.devices import readers

    return readers()


def _read(folder: Path, content: str) -> tuple[SavedModel, Predictor]:
    """Return the model; a process reads it once for all scenes and threads."""
    with READING:
        return _remembered(folder, content)


@lru_cache(maxsize=2)
def _remembered(folder: Path, content: str) -> tuple[SavedModel, Predictor]:  # noqa: ARG001 part of the cache's key
    archive = read_model(folder)
    return archive, archive.card.model.served(archive.weights, archive.card.task, archive.card.inputs)
