"""eval: compare predictions with labels, in metrics, pictures and a page."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from quadrat.errors import CatalogError, PredictionError, QuadratError
from quadrat.evaluation.adjusted_areas import Estimate
from quadrat.evaluation.areas import Areas, Measured, write_areas
from quadrat.evaluation.correlation import Scored, fine_blocks
from quadrat.evaluation.figure import draw
from quadrat.evaluation.intervals import Bounded, Intervals, Spread, scenes_are_blocks
from quadrat.evaluation.page.content import Content, SceneContent
from quadrat.evaluation.page.page import write_page
from quadrat.evaluation.page.scenes import MOST_SCENES, shown_first
from quadrat.evaluation.page.thumbnails import Thumbnail, thumbnail
from quadrat.evaluation.page.training import Training
from quadrat.evaluation.pictures import Picture, Pictures
from quadrat.evaluation.score_tables import write_confusion, write_scores
from quadrat.evaluation.summary import MODEL, figure, gains, polygon_sentence, tables, word
from quadrat.evaluation.thumbnails import ground_sides, picture_of
from quadrat.evaluation.trust import Counter, Trust
from quadrat.geo.grids.blocks import Blocks
from quadrat.geo.statistics.analysis_files import read_table
from quadrat.runtime.cache.snapshot import Snapshot
from quadrat.runtime.failures import succeeded
from quadrat.runtime.files import replaced, write_json
from quadrat.runtime.formats.section import Section
from quadrat.runtime.formats.yaml import dumped
from quadrat.runtime.progress import console, track
from quadrat.runtime.provenance.origin import Origin
from quadrat.runtime.run import Paths, Run
from quadrat.scenes.catalog import Design, load_catalog
from quadrat.scenes.input_files import InputFiles, input_files, raise_changes
from quadrat.scenes.pins import check_pins
from quadrat.scenes.scene import Scene
from quadrat.tasks import Match, Task
from quadrat.tasks.common.metrics import Counts, Metrics, rounded
from quadrat.tasks.common.parts import scoring_of
from quadrat.tasks.common.polygons import PolygonCounts
from quadrat.tasks.common.truth import Truth

if TYPE_CHECKING:
    from quadrat.models import Baseline
    from quadrat.prediction.given import Given

SCORED = ("validation", "test")

MAJORITY = "majority"
"""The name of the most frequent class everywhere in the comparison; the baseline is named by its kind."""


class Eval(Section):
    """When a prediction is correct, and which pictures are drawn."""

    match: Match = None
    """When a detection is correct; null for tasks without detections."""
    intervals: Intervals | None = Intervals()
    """The intervals of metrics; null for none."""
    pictures: Pictures | None = None
    """A picture of each predicted scene; null for none."""


@dataclass(frozen=True)
class Examined:
    """An evaluated scene: counts of the model and the baseline, by name, in all and by block, and its picture."""

    scene: Scene
    counts: Mapping[str, Counts]
    """Empty for a scene that is not scored."""
    scored: Scored | None
    picture: Picture | None
    areas: Areas | None
    """None for tasks without a raster of classes."""
    origin: Origin | None
    trust: Trust
    polygons: PolygonCounts | None = None
    """Of given predictions only."""
    thumbnail: Thumbnail | None = None


@dataclass(frozen=True)
class EvalParams:
    """The sections that eval takes; those from ``bands`` on decide nothing, and the page shows them."""

    scenes: Path
    seed: int
    task: Task
    baseline: "Baseline | None"
    eval: Eval
    bands: tuple[str, ...] | None = None
    chip: Section | None = None
    model: Section | None = None
    lr: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    train: Section | None = None
    predict: Section | None = None

    @property
    def rival(self) -> str | None:
        """The name of the baseline in the comparison: its kind."""
        return None if self.baseline is None else self.baseline.kind


def evaluate(params: EvalParams, paths: Paths, run: Run) -> None:
    """Write metrics in all, per class and per scene, intervals, confusion, areas, pictures and the page; print scores.

    Validation and test scenes are scored where they have labels within the AOI. ``Test``, ``overall``, ``baseline``,
    the metrics per class and the intervals are of all test scenes together; of the validation scenes if there are no
    test scenes. Raises InputError if a file is changed meanwhile.
    """
    curves = (paths.curves, paths.train_metrics)
    begun = Snapshot.of(params.scenes, paths.pins, paths.table, paths.predictions, *curves)
    frequent = _most_frequent(paths.table, params.task)
    catalog = load_catalog(params.scenes)
    predicted = [scene for scene in catalog.resolve() if scene.split != "train"]
    _evaluate(params, paths, run, _Asked(predicted, begun, catalog.design, frequent))


def score_given(params: EvalParams, paths: Paths, run: Run, given: "Given") -> None:
    """Write and show what ``evaluate`` does, of predictions that another program made of validation and test scenes.

    There is no baseline and no majority class.
    """
    given.check(params.task.names)
    begun = Snapshot.of(params.scenes, paths.pins, given.path)
    catalog = load_catalog(params.scenes)
    scenes = [scene for scene in catalog.resolve() if scene.split in SCORED]
    if not scenes:
        problem = "the catalog has no scene to score"
        raise CatalogError(problem, file=params.scenes, hint="give scenes with labels the split test")
    if given.path.is_file() and len(scenes) > 1:
        raise PredictionError(
            "one file is given for several scenes",
            file=given.path,
            expected=f"a folder with a file for each of {', '.join(scene.id for scene in scenes)}",
            hint="or a catalog of one scene",
        )
    _evaluate(params, paths, run, _Asked(scenes, begun, catalog.design, given=given))


@dataclass(frozen=True)
class _Asked:
    """Scenes to evaluate, and the state of files at the start."""

    scenes: Sequence[Scene]
    begun: Snapshot
    design: Design | None
    frequent: int | None = None
    """The id of the most frequent class of the training labels, if it is compared."""
    given: "Given | None" = None


def _evaluate(params: EvalParams, paths: Paths, run: Run, asked: _Asked) -> None:
    check_pins(asked.scenes, paths.pins)
    files = input_files(asked.scenes)
    reference = "test" if any(scene.split == "test" for scene in asked.scenes) else "validation"
    with replaced(paths.pictures, ["*.png"]) as folder:
        folder.mkdir()
        examined = _all_examined(params, run, asked.given or paths.predictions, files, reference, folder)
        raise_changes(asked.begun, files)
        result = _compared(params, examined, reference, asked)
        _write(params, paths, asked, examined, result)
    for part in tables(params.task, result.counts, reference, result.spread):
        console.print(part)
    if result.polygons:
        console.print(polygon_sentence(result.polygons))
    if result.trust is not None:
        console.print(result.trust.sentence(params.task.names))


def _all_examined(
    params: EvalParams,
    run: Run,
    predictions: "Path | Given",
    files: Sequence[InputFiles],
    reference: str,
    pictures: Path,
) -> list[Examined]:
    """Return all scenes, examined; write their pictures to ``pictures``."""
    scenes, section = [one.scene for one in files], params.eval
    small = shown_first([(scene.id, scene.split) for scene in scenes], MOST_SCENES)
    count = sum(scene.split == reference for scene in scenes)
    blocked = section.intervals is not None and not scenes_are_blocks(count, section.intervals)
    look = partial(
        _examine,
        task=params.task,
        rival=params.rival,
        section=section,
        predictions=predictions,
        blocked=reference if blocked else None,
    )
    examined = []
    outcomes = track(run.executor.map(look, files), "eval", len(scenes), "scenes")
    for one in succeeded((scene.id for scene in scenes), outcomes):
        thumb = _drawn(one, params.task, section.pictures, pictures, small=one.scene.id in small)
        examined.append(replace(one, picture=None, thumbnail=thumb))
    return examined


@dataclass(frozen=True)
class _Compared:
    """The counts of the model, the baseline and the majority class, over all scenes of a split, and the intervals."""

    split: str
    counts: Mapping[str, Counts]
    spread: Spread
    trust: Trust | None
    """None for tasks without probabilities, and for given predictions that don't say how sure they are."""
    polygons: Metrics
    """Of given polygons; else empty."""


def _compared(params: EvalParams, examined: Sequence[Examined], reference: str, asked: _Asked) -> _Compared:
    scoring, frequent = scoring_of(params.task), asked.frequent
    compared = _together(examined, reference, scoring.no_counts(params.eval.match), params.rival)
    parts = [one.scored for one in examined if one.scored and one.scene.split == reference]
    always = None if frequent is None else compared[MODEL].always(frequent)
    if frequent is not None and always is not None:
        compared[MAJORITY] = always
        parts = [one.with_class(MAJORITY, MODEL, frequent) for one in parts]
    trust = sum((one.trust for one in examined if one.scene.split == reference), Trust.none())
    matched = [one.polygons for one in examined if one.polygons and one.scene.split == reference]
    polygons = sum(matched[1:], matched[0]).metrics() if matched else {}
    shown = trust if trust.known or (scoring.class_map and asked.given is None) else None
    spread = Spread.of(parts, params.eval.intervals, params.seed, scoring.monitor)
    return _Compared(reference, compared, spread, shown, polygons)


def _write(params: EvalParams, paths: Paths, asked: _Asked, examined: Sequence[Examined], result: _Compared) -> None:
    task, metric = params.task, scoring_of(params.task).monitor
    split, compared, spread = result.split, result.counts, result.spread
    model = compared[MODEL]
    none = scoring_of(task).no_counts(params.eval.match)
    validation = _together(examined, "validation", none, params.rival)[MODEL]
    trust = {} if result.trust is None else result.trust.metrics()
    polygons = {"polygons": rounded(result.polygons)} if result.polygons else {}
    write_json(paths.eval_metrics, {**_metrics(task, compared, split, validation, spread), **trust, **polygons})
    (result.trust or Trust.none()).write(paths.reliability)
    estimate = _estimate(examined, split, asked.design, task, model)
    adjusted = {} if estimate is None else estimate.written(task.names)
    areas = {"areas": {"design": asked.design, "classes": adjusted}} if adjusted else {}
    write_json(paths.intervals, {"split": split, **spread.written(task.names), **areas})
    write_scores(paths.class_scores, "class", dict(zip(task.names, model.per_class(), strict=True)))
    write_scores(
        paths.scene_scores, "scene", {one.scene.id: one.counts[MODEL].summary() for one in examined if one.counts}
    )
    write_confusion(paths.confusion, task.names, model)
    write_areas(paths.areas, task.names, {one.scene.id: one.areas for one in examined if one.areas})
    training = None if asked.given else Training.read(paths.curves, paths.train_metrics)
    told = [_told(one) for one in examined]
    shown = _shown(params)
    page = Content(
        task, metric, split, compared, spread, told, estimate, training, shown, result.trust, result.polygons
    )
    write_page(paths.page, page)


def _examine(
    files: InputFiles,
    *,
    task: Task,
    rival: str | None,
    section: Eval,
    predictions: "Path | Given",
    blocked: str | None,
) -> Examined:
    """Count a scene, if it is scored, and make its picture; raise PredictionError for missing or wrong predictions."""
    from quadrat.prediction.origins import folder_origin
    from quadrat.prediction.reader import Prediction

    scene = files.scene
    place = predictions / scene.id if isinstance(predictions, Path) else predictions.place(scene.id)
    folders = {MODEL: place}
    if rival and scene.split in SCORED:
        folders[rival] = place / "baseline"
    bands = (scene.image.grid_band,) if section.pictures is None else section.pictures.bands
    try:
        with files.unchanged(), scene.open(bands, task) as opened, ExitStack() as stack:
            made: dict[str, Any]
            if isinstance(predictions, Path):
                made = {n: stack.enter_context(Prediction(f, opened.grid, scene.id)) for n, f in folders.items()}
            else:
                made = {MODEL: stack.enter_context(predictions.open(opened.grid, scene.id))}
            scoring, counter, counted = scoring_of(task), None, _Counted()
            layer = scoring.class_map
            if layer is not None:
                scoring.watch = counter = Counter(made[MODEL], len(task.classes))
                made[MODEL] = Measured(made[MODEL], layer, opened, task.names)
            truth = None if opened.labels is None or scene.split not in SCORED else Truth(opened, opened.labels)
            if truth is not None:
                fine = scene.split == blocked
                blocks = fine_blocks(truth.area, len(task.classes)) if fine else Blocks.one(truth.area)
                counted = _count(truth, scoring, made, blocks, section.match)
                if not isinstance(predictions, Path):
                    counted = replace(counted, polygons=scoring.polygons(truth, made[MODEL]))
            trust = counted.trust if counter is None else counter.found
            picture = None
            if section.pictures is not None:
                picture = picture_of(opened, truth, made[MODEL], scoring, section.pictures, section.match)
            areas = None if layer is None else made[MODEL].areas()
    except QuadratError as error:
        error.scene, error.file = error.scene or scene.id, error.file or folders[MODEL]
        raise
    origin = folder_origin(folders[MODEL])
    return Examined(scene, counted.totals, counted.scored, picture, areas, origin, trust, counted.polygons)


@dataclass(frozen=True)
class _Counted:
    """What was counted of a scene, for ``Examined``."""

    totals: Mapping[str, Counts] = field(default_factory=dict)
    scored: Scored | None = None
    trust: Trust = field(default_factory=Trust.none)
    polygons: PolygonCounts | None = None


def _count(truth: Truth, scoring: Any, made: Mapping[str, Any], blocks: Blocks, match: Match) -> _Counted:
    """Count the predictions of a scene, by name, in blocks and together."""
    parts = scoring.score_blocks(truth, list(made.values()), blocks, match)
    sides = ground_sides(truth.scene.grid, truth.area)
    scored = Scored(truth.scene.id, blocks, sides, dict(zip(made, parts, strict=True)))
    totals = {name: scoring.together(some.values(), match) for name, some in scored.counts.items()}
    trust = Trust(scoring.reliability(truth, made[MODEL], totals[MODEL], match), {})
    return _Counted(totals, scored, trust)


def _most_frequent(table: Path, task: Task) -> int:
    """Return the id of the most frequent class of the training labels."""
    rows = read_table(table, ["split", *task.columns])
    return int(rows.loc[rows["split"] == "train", task.columns].sum().to_numpy().argmax())


def _together(examined: Sequence[Examined], split: str, none: Counts, rival: str | None) -> dict[str, Counts]:
    """Return the counts of all scenes of a split, for the model and for the baseline, by name."""
    scored = [one.counts for one in examined if one.scene.split == split and one.counts]
    names = [MODEL] if rival is None else [MODEL, rival]
    return {name: sum((counts[name] for counts in scored), none) for name in names}


def _metrics(
    task: Task, compared: Mapping[str, Counts], split: str, validation: Counts, spread: Spread
) -> dict[str, Any]:
    """Return the content of ``metrics/eval.json``. DVC sorts its columns: a capital letter comes first."""
    monitor = scoring_of(task).monitor
    score = compared[MODEL].summary()[monitor]
    over = gains(compared, monitor)
    return {
        split.capitalize(): {
            **_bounded(monitor, score, spread.predictions.get(MODEL)),
            **{f"over_{name}": _bounded(monitor, gain, spread.gains.get(name)) for name, gain in over.items()},
        },
        "overall": rounded(compared[MODEL].overall()),
        "baseline": {name: rounded(counts.summary()) for name, counts in compared.items() if name != MODEL},
        "validation": rounded(validation.summary()),
    }


def _bounded(name: str, value: float | None, bounded: Bounded | None) -> Metrics:
    """Return a metric with its interval."""
    low, high = (bounded and bounded.overall.get(name)) or (None, None)
    return rounded({name: value, "low": low, "high": high})


def _drawn(one: Examined, task: Task, pictures: Pictures | None, folder: Path, *, small: bool) -> Thumbnail | None:
    """Write a scene's picture, and return its thumbnail if it gets a ``small`` one."""
    if one.picture is None or pictures is None:
        return None
    painted = scoring_of(task).painted
    draw(one.picture, painted, _title(one), pictures.stretch, folder / f"{one.scene.id}.png")
    return thumbnail(one.picture, painted, pictures.stretch) if small else None


def _estimate(
    examined: Sequence[Examined], split: str, design: str | None, task: Task, counts: Counts
) -> Estimate | None:
    """Return the areas of all scenes of a split; None for tasks without a raster of classes."""
    if scoring_of(task).class_map is None:
        return None
    areas = [one.areas for one in examined if one.areas and one.scene.split == split]
    return Estimate.of(design, counts.confused(), areas, task.names)


def _told(one: Examined) -> SceneContent:
    """Return what the page tells of a scene."""
    summary = one.counts[MODEL].summary() if one.counts else {}
    return SceneContent(one.scene.id, one.scene.split, summary, one.areas, one.thumbnail, one.origin)


def _shown(params: EvalParams) -> str:
    """Return the parameters in YAML, without those that have their default."""
    given = {each.name: getattr(params, each.name) for each in fields(params)}
    content = {
        name: value.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        if isinstance(value, Section)
        else value
        for name, value in given.items()
        if value is not None
    }
    return dumped(to_jsonable_python(content)).decode()


def _title(one: Examined) -> str:
    name = f"{one.scene.id} ({one.scene.split})"
    if not one.counts:
        return name
    summary = one.counts[MODEL].summary()
    return f"{name}: " + ", ".join(f"{word(key)} {figure(summary[key])}" for key in list(summary)[:2])
