"""quadrat folds: train and score the stages' work on each fold, and put the predictions together."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from quadrat.errors import AOIError, CatalogError, OutputError
from quadrat.folds.cutting import Cut, cut
from quadrat.folds.section import Folds
from quadrat.runtime.files import write_json
from quadrat.runtime.progress import console
from quadrat.runtime.run import Paths, Run, subset
from quadrat.scenes.aoi import open_aoi
from quadrat.scenes.catalog import Catalog, load_catalog, written
from quadrat.tasks.common.metrics import Metrics, rounded
from quadrat.tasks.common.parts import scoring_of

LEARNT = ("train", "validation")
"""Splits of the scenes whose ground is cut; test scenes are not touched."""

SHARED = ("pins", "weights", "plugins", "lock")
"""Paths of the project that folds use as they are."""


@dataclass(frozen=True)
class Result:
    """The metrics over the classes of each fold, on its scored blocks."""

    folds: Sequence[Metrics]

    def summary(self) -> dict[str, Metrics]:
        """Return the mean and the standard deviation of each metric over the folds that define it."""
        columns = {name: [fold[name] for fold in self.folds] for name in self.folds[0] if name != "support"}
        known = {name: np.array([v for v in values if v is not None], float) for name, values in columns.items()}
        return {
            "mean": {name: float(values.mean()) if len(values) else None for name, values in known.items()},
            "deviation": {
                name: float(values.std(ddof=1)) if len(values) > 1 else None for name, values in known.items()
            },
        }


def run_folds(params: Any, settings: Folds, out: Path, run: Run) -> Result:
    """Cross-validate what ``params``, all parameters, train, on the ground of train and validation scenes.

    Writes to the new folder ``out``: ``folds.json`` with the metrics of each fold, their mean and deviation;
    ``blocks.geojson``; the model and metrics of each fold; and for tasks with a raster of classes ``maps``, predictions
    of all the ground by models that have not seen it, with their scores in ``scores``. Raises OutputError if ``out``
    is there, and the stages' errors.
    """
    if out.exists():
        raise OutputError("the folder for the folds is there", file=out, hint="delete it, or name another by --out")
    catalog = load_catalog(params.scenes).spelt_out()
    scenes = [scene for scene in catalog.resolve() if scene.split in LEARNT]
    if not scenes:
        raise CatalogError("the catalog has no train or validation scene", file=params.scenes)
    ground = cut(scenes, params.task, settings, params.seed)
    out.mkdir(parents=True)
    ground.frame().to_file(out / "blocks.geojson")
    folders = [out / str(fold + 1) for fold in range(settings.count)]
    prepared = []
    for fold, folder in enumerate(folders):  # what can't be learnt from is known before the first training
        console.rule(f"the ground of fold {fold + 1} of {settings.count}")
        prepared.append(_prepared(params, catalog, ground, ground.parts(fold, settings), folder, run))
    found = []
    for fold, (own, paths) in enumerate(prepared):
        console.rule(f"fold {fold + 1} of {settings.count}")
        found.append(_run(own, paths, run))
    result = Result(found)
    summary = {name: rounded(metrics) for name, metrics in result.summary().items()}
    write_json(out / "folds.json", {**summary, "folds": [rounded(each) for each in found]})
    if scoring_of(params.task).class_map is not None:
        _join(params, catalog, ground, settings.count, out, run)
    return result


def sentence(result: Result) -> str:
    """Return mean and deviation of the summarised metrics in words."""
    summary = result.summary()
    told = [
        f"{name} {value:.3f} ± {summary['deviation'][name] or 0:.3f}"
        for name, value in summary["mean"].items()
        if value is not None
    ]
    return f"{len(result.folds)} folds, mean ± standard deviation: {', '.join(told)}"


def _prepared(
    params: Any, catalog: Catalog, ground: Cut, parts: Mapping[str, Any], folder: Path, run: Run
) -> tuple[Any, Paths]:
    """Analyse the ground of a fold in a folder; return its parameters and paths."""
    from quadrat.pipeline.analyze import AnalyzeParams, analyze

    areas = folder / "areas"
    areas.mkdir(parents=True)
    (folder / "scenes.yaml").write_bytes(written(catalog_of(catalog, ground, parts, areas)))
    plain = params.eval.model_copy(update={"pictures": None})
    own = params.model_copy(update={"scenes": folder / "scenes.yaml", "aoi": areas, "eval": plain})
    paths = _paths(folder)
    analyze(subset(AnalyzeParams, own), paths, run)
    return own, paths


def _run(params: Any, paths: Paths, run: Run) -> Metrics:
    """Run the stages of a fold after analyze; return its metrics."""
    import json

    from quadrat.pipeline.chip import ChipParams, chip
    from quadrat.pipeline.eval import EvalParams, evaluate
    from quadrat.pipeline.predict import PredictParams, predict
    from quadrat.pipeline.train import TrainParams, train

    stages: tuple[tuple[Any, Any], ...] = (
        (chip, ChipParams),
        (train, TrainParams),
        (predict, PredictParams),
        (evaluate, EvalParams),
    )
    for stage, kind in stages:
        stage(subset(kind, params), paths, run)
    shutil.rmtree(paths.chips)
    metrics: Metrics = json.loads(paths.eval_metrics.read_bytes())["overall"]
    return metrics


def _paths(folder: Path) -> Paths:
    """Return the stages' paths below a folder, but for what is the project's own."""
    plain = Paths()
    own = {each.name: folder / getattr(plain, each.name) for each in fields(plain) if each.name not in SHARED}
    return replace(plain, **own)


def catalog_of(catalog: Catalog, ground: Cut, parts: Mapping[str, Any], areas: Path) -> Catalog:
    """Return the catalog of a fold: each scene as up to three, whose areas of interest are written to ``areas``.

    These are in the plane of the cut: by longitude, ground at the 180th meridian would go around the Earth.
    Raises CatalogError if a split has no ground.
    """
    entries = []
    for entry in catalog.scenes:
        if entry.split not in LEARNT:
            continue
        for split, part in parts.items():
            file = areas / f"{entry.id}-{split}.fgb"
            if _write_area(shapely.intersection(ground.areas[entry.id], part), ground, entry.id, file):
                changed = {"id": f"{entry.id}-{split}", "split": split, "aoi": file.as_posix()}
                entries.append(entry.model_copy(update=changed))
    for split in parts.keys() - {entry.split for entry in entries}:
        raise CatalogError(
            f"no ground is left for the split {split}",
            file=areas,
            hint="set a smaller folds.gap or folds.block, or fewer folds.count",
        )
    return catalog.model_copy(update={"scenes": tuple(entries)})


def _write_area(area: Any, ground: Cut, scene: str, file: Path) -> bool:
    """Write an area of interest; return False, and write none, if it has no pixel of the scene."""
    import geopandas

    polygons = [one for one in shapely.get_parts(area) if one.geom_type == "Polygon" and not one.is_empty]
    if not polygons:
        return False
    geopandas.GeoSeries(polygons, crs=ground.plane).to_file(file)
    try:
        open_aoi((str(file),), ground.grids[scene], scene)
    except AOIError:  # its own file is readable: it covers no pixel
        file.unlink()
        return False
    return True


def _join(params: Any, catalog: Catalog, ground: Cut, count: int, out: Path, run: Run) -> None:
    """Put the predicted classes of all folds together, each where it was scored, and score these maps."""
    from quadrat.pipeline.eval import EvalParams, score_given
    from quadrat.prediction.given import Given

    maps = out / "maps"
    for scene in (scene for scene in catalog.resolve() if scene.split in LEARNT):
        with scene.open((scene.image.grid_band,), params.task) as opened:
            _join_scene(params.task, opened.grid, scene.id, [out / str(n + 1) for n in range(count)], maps / scene.id)
    areas, entries = out / "areas", []
    areas.mkdir()
    for entry in (one for one in catalog.scenes if one.split in LEARNT):
        file = areas / f"{entry.id}.fgb"  # an area of interest may have items for each split, and others for test
        known = entry.aoi and _write_area(ground.areas[entry.id], ground, entry.id, file)
        entries.append(entry.model_copy(update={"split": "test", "aoi": file.as_posix() if known else entry.aoi}))
    whole = out / "scenes.yaml"
    whole.write_bytes(written(catalog.model_copy(update={"scenes": tuple(entries)})))
    paths = _paths(out / "scores")
    sections = EvalParams(whole, params.seed, params.task, None, params.eval.model_copy(update={"pictures": None}))
    console.rule("all folds together")
    score_given(sections, paths, run, Given(maps))


def _join_scene(task: Any, grid: Any, scene: str, folders: Sequence[Path], to: Path) -> None:
    """Write the classes of a scene that its folds predicted."""
    from contextlib import ExitStack

    from quadrat.geo.grids.class_ids import IGNORE
    from quadrat.geo.grids.windows import STRIP_ROWS, strips
    from quadrat.prediction.reader import Prediction
    from quadrat.prediction.writers import writer_for
    from quadrat.tasks.common.outputs import RasterLayer, Rows

    layer = str(scoring_of(task).class_map)
    places = [folder / Paths().predictions / f"{scene}-test" for folder in folders]
    to.mkdir(parents=True)
    with ExitStack() as files:
        made = [files.enter_context(Prediction(place, grid, scene)) for place in places if place.exists()]
        about = RasterLayer(layer, "uint8", ("class",), IGNORE, classes=task.classes)
        writer = files.enter_context(writer_for(about, grid, to, {}))
        for window in strips(grid.area, STRIP_ROWS):
            ids = np.full(window.shape, IGNORE, np.uint8)
            for one in made:
                np.minimum(ids, one.class_ids(layer, window, task.names), out=ids)  # IGNORE is the largest
            writer.write(Rows(layer, window.row, window.col, ids[None]))
