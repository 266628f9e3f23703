"""quadrat check: a table of the scenes, and the errors that can be found in seconds."""

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from quadrat.errors import ParamsError, PluginError, QuadratError
from quadrat.geo.grids.grid import system_of
from quadrat.geo.sources.bands import dates_of, names_of
from quadrat.geo.statistics.band_statistics import BandStatistics
from quadrat.models import Inputs, Kind, Sizes
from quadrat.pipeline.chip import Chip
from quadrat.pipeline.eval import Eval
from quadrat.plugins.section import plugins_in
from quadrat.preflight.class_counts import seen, unscored
from quadrat.preflight.label_survey import LabelSurvey
from quadrat.preflight.problems import find_errors, find_warnings
from quadrat.preflight.survey import Finding, SceneCheck, Survey, survey
from quadrat.runtime.failures import merged
from quadrat.runtime.parallel import Executor, results
from quadrat.runtime.progress import Terminal, print_error, track, warn
from quadrat.runtime.run import Paths
from quadrat.scenes.catalog import read_catalog
from quadrat.scenes.pins import pin_errors
from quadrat.tasks import Task
from quadrat.tasks.common.parts import targets_of
from quadrat.team.damage import lock_damage

if TYPE_CHECKING:
    from quadrat.params import Params

UNKNOWN, NONE = "?", "–"

TITLE = f"""
Labels that meet the areas of interest: features, and px that were examined
({UNKNOWN}: unknown without pixels)"""

REST = """\
Only analyze reads all pixels. It also finds scenes without a valid pixel, classes without a labelled pixel, and unknown
values in large rasters. Of each file, the first error is reported."""


def check(params: "Params", paths: Paths, executor: Executor) -> int:
    """Print the scenes, their labels, and all errors and warnings; return the number of errors.

    It reads headers, labels and AOIs, and no pixels of images. The network is tried last, because its libraries load
    slowly, and only if there is no other error.
    """
    started = time.monotonic()
    task = params.task
    catalog = read_catalog(params.scenes)
    surveyed = partial(survey, bands=params.bands, task=task)
    findings = list(track(results(executor.map(surveyed, catalog)), "check", len(catalog), "scenes"))
    unpictured = _without_picture(findings, params.bands, params.eval)
    damaged = lock_damage(Path())
    broken = [] if damaged is None else [damaged]
    found = merged([*broken, *pin_errors(catalog, paths.pins), *find_errors(findings, task), *unpictured])
    if not found:
        sizes = Sizes(params.chip.chip_size, params.batch_size, params.predict.window_size, trains=params.epochs > 0)
        kinds = [one for one in (params.model, params.baseline) if one is not None]
        found = list(_without_plugins(params))
        found += [error for one in kinds for error in _without_model(findings, task, one, sizes)]
        found += _without_chips(findings, task, params.chip)
    noted = find_warnings(findings, (params.raw, params.aoi)) + unscored(findings, task)
    out = Terminal()
    out.print(_scenes(findings, found))
    if any(finding.survey for finding in findings):
        out.print(TITLE, highlight=False)
        out.print(_classes(findings, task), "", sep="\n")
    for error in found:
        print_error(error, out)
    for line in noted:
        warn(line, out)
    counts = ", ".join(_counted(len(some), word) for some, word in ((found, "error"), (noted, "warning")))
    seconds = time.monotonic() - started
    out.print(f"{counts} in {_counted(len(catalog), 'scene')} ({seconds:.1f} s)", style="bold", highlight=False)
    out.print(REST, highlight=False, soft_wrap=True)
    return len(found)


def _without_picture(
    findings: Sequence[Finding],
    bands: Sequence[str],
    eval: Eval,  # noqa: A002
) -> Iterator[QuadratError]:
    """Yield errors of eval: predicted scenes without the bands of pictures."""
    pictured = () if eval.pictures is None else eval.pictures.bands
    for finding in findings:
        scene = finding.scene
        if scene.split == "train" or finding.survey is None:
            continue
        lacking = [band for band in pictured if band not in scene.image.bands]
        further = [band for band in pictured if band not in bands]
        if lacking:
            yield ParamsError(
                "eval.pictures.bands names bands that the image lacks",
                scene.id,
                expected=", ".join(scene.image.bands),
                got=", ".join(lacking),
                hint="name bands of the catalog's images, or set eval.pictures to null",
            )
        elif further:
            with ExitStack() as files:
                check = SceneCheck(scene, files)
                check.image(further)
            yield from check.errors


def _without_plugins(params: "Params") -> Iterator[QuadratError]:
    """Yield errors of the losses and augmentations of the user's own, tried on made-up chips."""
    for plugin in plugins_in(params.train):
        from quadrat.models.training.own_code import try_plugin

        try:
            try_plugin(plugin, params.task, len(params.bands), params.chip.chip_size)
        except PluginError as error:
            yield error


def _without_chips(findings: Sequence[Finding], task: Task, chip: Chip) -> Iterator[QuadratError]:
    """Yield errors of chip: more labels required of a chip than it can hold."""
    if chip.negatives is None:
        return
    selected = np.isin(task.names, task.names if chip.target_classes is None else chip.target_classes)
    seen = [finding.survey.labels for finding in findings if finding.survey and finding.scene.split == "train"]
    most = max((targets_of(task).most_labels(one.features, selected, chip.chip_size) for one in seen), default=np.inf)
    if any(one.hidden[selected].any() or one.pixels[selected].any() for one in seen):
        most = targets_of(task).most_labels(np.full(len(selected), np.inf), selected, chip.chip_size)
    if chip.min_targets > most:
        yield ParamsError(
            "no chip can hold as many labels as chip.min_targets requires",
            expected=f"at most {most:.0f} {task.unit}",
            got=chip.min_targets,
            hint="lower chip.min_targets, or set chip.negatives to null to keep chips with fewer",
        )


def _without_model(findings: Sequence[Finding], task: Task, model: Kind, sizes: Sizes) -> Iterator[QuadratError]:
    """Yield errors of train: parameters that give no model, or one that can't take its windows."""
    (bands, *_) = (finding.survey.bands for finding in findings if finding.survey)
    some = {"count": 1, "mean": 0.0, "std": 1.0, "min": 0.0, "max": 1.0, "percentiles": {}, "histogram": ()}
    statistics = tuple(BandStatistics.model_validate({"band": name, **some}) for name in names_of(bands))
    try:
        model.check(task, Inputs(bands, statistics), sizes)
    except QuadratError as error:
        yield error


def _scenes(findings: Sequence[Finding], found: Sequence[QuadratError]) -> Table:
    table = _table("scene", "split", "px", "CRS", "GSD", "bands", "labels", "AOI", "errors")
    faults = Counter(name for error in found for name in {*re.split(r", | and ", str(error.scene))})
    for finding in findings:
        scene, one = finding.scene, finding.survey
        faulty = faults[scene.id]
        about = [UNKNOWN] * 6 if one is None else [*_place(one), _bands(one), _labels(one.labels), _share(one)]
        if not scene.labels:
            about[4] = NONE
        table.add_row(
            scene.id, scene.split, *map(escape, about), Text(str(faulty or NONE), "bold red" if faulty else "")
        )
    return table


def _classes(findings: Sequence[Finding], task: Task) -> Table:
    splits = {split: one for split, one in seen(findings, task).items() if split != "predict"}
    table = _table("class", *splits)
    for number, name in enumerate(task.names):
        cells = [_seen(one, number) for one in splits.values()]
        lost = [split == "train" and bool(one.absent[number]) for split, one in splits.items()]
        table.add_row(escape(name), *(Text(c, "bold red" if bad else "") for c, bad in zip(cells, lost, strict=True)))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", justify="left" if column in {"scene", "class", "split"} else "right")
    return table


def _place(one: Survey) -> tuple[str, str, str]:
    """Return the grid's size, CRS and ground sample distance as text."""
    grid = one.grid
    named, unit = (NONE, "px") if grid.crs is None else (_named(grid.crs), "m")
    return f"{grid.shape[1]}×{grid.shape[0]}", named, f"{grid.gsd_of(one.area):.3g} {unit}"


@lru_cache
def _named(crs: object) -> str:
    """Return a CRS's name, which takes milliseconds to find."""
    system = system_of(crs)
    return ":".join(system.to_authority() or (system.name,))


def _bands(one: Survey) -> str:
    """Return the numbers of dates and bands, and their data types, as text."""
    kinds = dict.fromkeys(band.dtype for band in one.bands)
    dates = len(dates_of(one.bands))
    times = f"{dates}×" if dates else ""
    return f"{times}{len(names_of(one.bands))} {'/'.join(kinds)}" if kinds else UNKNOWN


def _labels(labels: LabelSurvey) -> str:
    """Return the number of features, and whether there are pixels, as text."""
    shown = [str(labels.features.sum())] * bool(labels.features.any()) + ["px"] * bool(labels.pixels.any())
    return "+".join(shown) or (UNKNOWN if labels.hidden.any() else "0")


def _share(one: Survey) -> str:
    """Return the share of the image within the AOI."""
    area = float(np.prod(one.grid.shape)) * abs(one.grid.transform.determinant)
    return UNKNOWN if one.ground.is_empty else f"{one.ground.area / area:.0%}"


def _counted(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'s' * (number != 1)}"


def _seen(labels: LabelSurvey, number: int) -> str:
    features, pixels = int(labels.features[number]), int(labels.pixels[number])
    shown = [f"{features:,}"] * bool(features) + [f"{pixels:,} px"] * bool(pixels)
    return " + ".join(shown) or (UNKNOWN if labels.hidden[number] else "0")
