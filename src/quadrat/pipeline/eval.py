"""eval: compare predictions with labels, in metrics and pictures."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shapely
from rich.markup import escape
from rich.table import Table

from quadrat.errors import QuadratError
from quadrat.evaluation.pictures import Picture, Pictures, draw
from quadrat.evaluation.score_tables import write_scores
from quadrat.evaluation.thumbnails import ThumbnailGrid, ground_width
from quadrat.geo.statistics.analysis_files import read_table
from quadrat.runtime.cache.snapshot import Snapshot
from quadrat.runtime.failures import succeeded
from quadrat.runtime.files import replaced, write_json
from quadrat.runtime.formats.section import Section
from quadrat.runtime.progress import console, track
from quadrat.runtime.run import Paths, Run
from quadrat.scenes.catalog import read_catalog
from quadrat.scenes.input_files import InputFiles, input_files, raise_changes
from quadrat.scenes.pins import check_pins
from quadrat.scenes.scene import OpenScene, Scene
from quadrat.tasks import Match, Task
from quadrat.tasks.common.classes import NONE
from quadrat.tasks.common.metrics import Counts, Metrics, rounded
from quadrat.tasks.common.outputs import Outlines
from quadrat.tasks.common.parts import scoring_of
from quadrat.tasks.common.truth import Truth

if TYPE_CHECKING:
    from quadrat.models import Baseline
    from quadrat.prediction.reader import Prediction

SCORED = ("validation", "test")

MODEL, MAJORITY = "model", "majority"
"""Names in the comparison; the baseline is named by its kind."""


WORDS = {"_": " ", "f1": "F1", "iou": "IoU", "mae": "MAE", "rmse": "RMSE", "r2": "R²"}
"""Display names of parts of metrics' names."""


class Eval(Section):
    """When a prediction is correct, and which pictures are drawn."""

    match: Match = None
    """When a detection is correct; null for tasks without detections."""
    pictures: Pictures | None = None
    """A picture of each predicted scene; null for none."""


@dataclass(frozen=True)
class Examined:
    """An evaluated scene: counts of the model and the baseline, by name, and its picture."""

    scene: Scene
    counts: Mapping[str, Counts]
    """Empty for a scene that is not scored."""
    picture: Picture | None


@dataclass(frozen=True)
class EvalParams:
    """The sections that eval takes."""

    scenes: Path
    task: Task
    baseline: "Baseline | None"
    eval: Eval


def evaluate(params: EvalParams, paths: Paths, run: Run) -> None:
    """Write metrics in all, per class and per scene, the confusion matrix and pictures; show the result.

    Validation and test scenes are scored where they have labels within the AOI. ``overall``, ``baseline`` and the
    metrics per class are of all test scenes together; of the validation scenes if there are no test scenes. Raises
    InputError if a file is changed meanwhile.
    """
    task, section = params.task, params.eval
    begun = Snapshot.of(params.scenes, paths.pins, paths.table, paths.predictions)
    frequent = _most_frequent(paths.table, task)
    predicted = [scene for scene in read_catalog(params.scenes) if scene.split != "train"]
    check_pins(predicted, paths.pins)
    files = input_files(predicted)
    rival = None if params.baseline is None else params.baseline.kind
    look = partial(_examine, task=task, rival=rival, section=section, predictions=paths.predictions)
    examined = []
    with replaced(paths.pictures) as folder:
        folder.mkdir()
        outcomes = track(run.executor.map(look, files), "eval", len(predicted), "scenes")
        for one in succeeded((scene.id for scene in predicted), outcomes):
            if one.picture and section.pictures:
                draw(
                    one.picture,
                    scoring_of(task).painted,
                    _title(one),
                    section.pictures.stretch,
                    folder / f"{one.scene.id}.png",
                )
            examined.append(replace(one, picture=None))
        raise_changes(begun, files)
        reference = "test" if any(one.scene.split == "test" for one in examined) else "validation"
        none = scoring_of(task).no_counts(section.match)
        compared = _together(examined, reference, none, rival)
        always = compared[MODEL].always(frequent)
        compared |= {} if always is None else {MAJORITY: always}
        validation = _together(examined, "validation", none, rival)[MODEL]
        write_json(paths.eval_metrics, _metrics(compared, validation))
        write_scores(paths.class_scores, "class", dict(zip(task.names, compared[MODEL].per_class(), strict=True)))
        scored = {one.scene.id: one.counts[MODEL].summary() for one in examined if one.counts}
        write_scores(paths.scene_scores, "scene", scored)
        _write_confusion(paths.confusion, task, compared[MODEL])
    for shown in _tables(task, compared, reference):
        console.print(shown)


def _examine(files: InputFiles, *, task: Task, rival: str | None, section: Eval, predictions: Path) -> Examined:
    """Count a scene, if it is scored, and make its picture; raise PredictionError for missing or wrong predictions."""
    from quadrat.prediction.reader import Prediction

    scene = files.scene
    folders = {MODEL: predictions / scene.id}
    if rival and scene.split in SCORED:
        folders[rival] = folders[MODEL] / "baseline"
    bands = (scene.image.grid_band,) if section.pictures is None else section.pictures.bands
    try:
        with files.unchanged(), scene.open(bands, task) as opened, ExitStack() as stack:
            made = {n: stack.enter_context(Prediction(f, opened.grid, scene.id)) for n, f in folders.items()}
            truth = None if opened.labels is None or scene.split not in SCORED else Truth(opened, opened.labels)
            scores = [] if truth is None else scoring_of(task).score(truth, list(made.values()), section.match)
            picture = None if section.pictures is None else _picture(opened, truth, made[MODEL], task, section)
    except QuadratError as error:
        error.scene, error.file = error.scene or scene.id, error.file or folders[MODEL]
        raise
    return Examined(scene, dict(zip(made, scores, strict=False)), picture)


def _picture(
    scene: OpenScene,
    truth: Truth | None,
    prediction: "Prediction",
    task: Task,
    section: Eval,
) -> Picture:
    assert section.pictures
    lattice = ThumbnailGrid.of(scene.area, section.pictures.longest_side)
    width = ground_width(scene.grid, scene.area)
    scoring = scoring_of(task)
    outlines = scoring.outlines(truth, prediction, section.match)
    return Picture(
        image=lattice.mean(scene.raster),
        inside=lattice.pick(scene.inside),
        predicted=lattice.pick(partial(scoring.predicted_map, prediction)),
        truth=None if truth is None else lattice.pick(partial(scoring.label_map, truth, prediction)),
        drawn=None if outlines is None else tuple(_on_lattice(some, lattice) for some in outlines),
        side=lattice.step * (width or 1),
        unit="m" if width else "px",
    )


def _on_lattice(outlines: Outlines, lattice: ThumbnailGrid) -> Outlines:
    """Return outlines in pixels of the picture."""
    origin = (lattice.area.col, lattice.area.row)
    moved = shapely.transform(outlines.geometry, lambda xy: (xy - origin) / lattice.step)
    return replace(outlines, geometry=moved)


def _most_frequent(table: Path, task: Task) -> int:
    """Return the id of the most frequent class of the training labels."""
    rows = read_table(table, ["split", *task.columns])
    return int(rows.loc[rows["split"] == "train", task.columns].sum().to_numpy().argmax())


def _together(examined: Sequence[Examined], split: str, none: Counts, rival: str | None) -> dict[str, Counts]:
    """Return the counts of all scenes of a split, for the model and for the baseline, by name."""
    scored = [one.counts for one in examined if one.scene.split == split and one.counts]
    names = [MODEL] if rival is None else [MODEL, rival]
    return {name: sum((counts[name] for counts in scored), none) for name in names}


def _metrics(compared: Mapping[str, Counts], validation: Counts) -> dict[str, Any]:
    return {
        "overall": rounded(compared[MODEL].overall()),
        "baseline": {name: rounded(counts.summary()) for name, counts in compared.items() if name != MODEL},
        "validation": rounded(validation.summary()),
    }


def _write_confusion(path: Path, task: Task, counts: Counts) -> None:
    """Write a row for each pair of classes; ``.dvc/plots/confusion.json`` draws them."""
    import pandas as pd

    pairs = counts.confused()
    names = [*task.names, NONE][: len(pairs)]
    rows = [
        {"truth": truth, "predicted": predicted, "count": pairs[t, p]}
        for t, truth in enumerate(names)
        for p, predicted in enumerate(names)
    ]
    with replaced(path) as part:
        pd.DataFrame(rows, columns=["truth", "predicted", "count"]).to_csv(part, index=False)


def _title(one: Examined) -> str:
    name = f"{one.scene.id} ({one.scene.split})"
    if not one.counts:
        return name
    summary = one.counts[MODEL].summary()
    return f"{name}: " + ", ".join(f"{_word(key)} {_figure(summary[key])}" for key in list(summary)[:2])


def _tables(task: Task, compared: Mapping[str, Counts], split: str) -> Iterator[Table]:
    """Yield tables: the metrics of each class, and the model beside the baseline and the majority class."""
    names = [f"[{c.color}]■[/] {escape(c.name)}" for c in task.classes]
    unit = f"(support in {task.unit})"
    yield _table(f"{split}: each class {unit}", dict(zip(names, compared[MODEL].per_class(), strict=True)))
    yield _table(f"{split}: all classes {unit}", {name: counts.summary() for name, counts in compared.items()})


def _table(title: str, rows: Mapping[str, Metrics]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for name in next(iter(rows.values())):
        table.add_column(_word(name), justify="right")
    for name, metrics in rows.items():
        table.add_row(name, *(_figure(value) for value in metrics.values()))
    return table


def _word(name: str) -> str:
    for key, word in WORDS.items():
        name = name.replace(key, word)
    return name


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
