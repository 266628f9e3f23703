"""predict: layers of every scene that the model did not learn from."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from quadrat.archive import Archive, parent, read_archive
from quadrat.catalog import read_catalog
from quadrat.errors import ModelError
from quadrat.inference import Predict, check_bands, predict_scene
from quadrat.models import Baseline
from quadrat.origin import Origin, tags, unknown
from quadrat.scenes.bands import names_of
from quadrat.scenes.scene import Scene
from quadrat.tasks import Task


def predict(
    *,
    scenes: Path,
    task: Task,
    bands: tuple[str, ...],
    baseline: Baseline | None,
    predict: Predict,
    folder: Path,
    baseline_folder: Path,
    predictions: Path,
    batch: int,
    origin: Origin | None = None,
) -> None:
    """Write ``predictions``/<scene>/ for all scenes but those of split train.

    A scene with labels gets the baseline's labels too, in ``predictions``/<scene>/baseline/.
    """
    model = _read(folder, task, bands)
    compared = None if baseline is None else _read(baseline_folder, task, bands)
    origin = origin or unknown("predict")
    told, of_baseline = _tags(origin, folder), {} if compared is None else _tags(origin, baseline_folder)
    shutil.rmtree(predictions, ignore_errors=True)
    for scene in read_catalog(scenes):
        if scene.split != "train":
            _predict(scene, model, predict, predictions / scene.id, batch, told)
            if compared is not None and scene.labels:
                plain, to = _plain(predict, task, compared), predictions / scene.id / "baseline"
                _predict(scene, compared, plain, to, batch, of_baseline)


def _read(folder: Path, task: Task, bands: tuple[str, ...]) -> Archive:
    archive = read_archive(folder)
    learnt = archive.card.task, names_of(archive.card.bands)
    for what, theirs, ours in (("task", learnt[0], task), ("bands", learnt[1], bands)):
        if theirs != ours:
            raise ModelError(
                f"the model learnt another {what}", file=folder, expected=ours, got=theirs, mend="train it"
            )
    return archive


def _predict(
    scene: Scene, archive: Archive, predict: Predict, folder: Path, batch: int, tags: Mapping[str, str]
) -> None:
    card = archive.card
    predictor = card.model.restore(archive.weights, card.task, card.inputs)
    with scene.open(names_of(card.bands), card.task) as opened:
        check_bands(card.bands, opened.raster.bands, scene.id)
        predict_scene(opened, predictor, card.task, predict, folder, batch, tags=tags)


def _tags(origin: Origin, folder: Path) -> Mapping[str, str]:
    """Return what layers tell of the run and of the model in ``folder``."""
    return tags(origin.model_copy(update={"parent": parent(folder)}))


def _plain(predict: Predict, task: Task, archive: Archive) -> Predict:
    """Return the plan of a model that sees no further than its ``context``: no more overlap than that needs."""
    stride = task.plain_stride(predict.window_size, predict.stride, archive.card.model.context)
    return predict.model_copy(update={"stride": stride, "layers": predict.layers.plain()})
