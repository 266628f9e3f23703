"""check: a table of the scenes, and all that the stages would stop at, as far as it can be told in seconds."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from pyproj import CRS
from rich.console import Console
from rich.table import Table
from rich.text import Text

from quadrat.errors import ParamsError, QuadratError
from quadrat.geo.sources.bands import dates_of, names_of
from quadrat.geo.statistics.band_statistics import BandStatistics
from quadrat.models import Inputs, Kind, Sizes
from quadrat.pipeline.chip import Chip
from quadrat.pipeline.eval import Eval
from quadrat.preflight.class_counts import seen, unscored
from quadrat.preflight.label_survey import Glimpse
from quadrat.preflight.problems import doubts, faults
from quadrat.preflight.survey import Finding, SceneCheck, Survey, survey
from quadrat.runtime.failures import merged
from quadrat.runtime.parallel import Executor, results
from quadrat.runtime.progress import print_error, track, warn
from quadrat.runtime.run import Paths
from quadrat.scenes.catalog import read_catalog
from quadrat.scenes.pins import pin_faults
from quadrat.tasks import Task
from quadrat.tasks.common.parts import targets_of

if TYPE_CHECKING:
    from quadrat.params import Params

UNKNOWN, NONE = "?", "–"

TITLE = f"""
Labels that meet the areas of interest: features, and px that were looked at
({UNKNOWN}: not to be told without pixels)"""

REST = """\
Only analyze reads pixels. It also finds scenes without a valid pixel, classes whose labels cover none, and in large
rasters the values that no class claims. Of one file's faults, the first is told."""


def check(params: "Params", paths: Paths, executor: Executor) -> int:
    """Print the scenes, their labels, and all faults and warnings; return the number of faults.

    Headers, labels and AOIs are read; of images, no pixel is. That the network can be set up and takes the windows is
    tried last, for its libraries take their time, and only where nothing else is wrong.
    """
    started = time.monotonic()
    task = params.task
    catalog = read_catalog(params.scenes)
    surveyed = partial(survey, bands=params.bands, task=task)
    findings = list(track(results(executor.map(surveyed, catalog)), "check", len(catalog), "scenes"))
    unpictured = _without_picture(findings, params.bands, params.eval)
    found = merged([*pin_faults(catalog, paths.pins), *faults(findings, task), *unpictured])
    if not found:
        sizes = Sizes(params.chip.chip_size, params.batch_size, params.predict.window_size)
        kinds = [one for one in (params.model, params.baseline) if one is not None]
        found = [fault for one in kinds for fault in _without_model(findings, task, one, sizes)]
        found += _without_chips(findings, task, params.chip)
    noted = doubts(findings, (params.raw, params.aoi)) + unscored(findings, task)
    out = Console()
    out.print(_scenes(findings, found))
    if any(finding.survey for finding in findings):
        out.print(TITLE, highlight=False)
        out.print(_classes(findings, task), "", sep="\n")
    for fault in found:
        print_error(fault, out)
    for line in noted:
        warn(line, out)
    counts = ", ".join(_counted(len(some), word) for some, word in ((found, "fault"), (noted, "warning")))
    seconds = time.monotonic() - started
    out.print(f"{counts} in {_counted(len(catalog), 'scene')} ({seconds:.1f} s)", style="bold", highlight=False)
    out.print(REST, highlight=False, soft_wrap=True)
    return len(found)


def _without_picture(
    findings: Sequence[Finding],
    bands: Sequence[str],
    eval: Eval,  # noqa: A002
) -> Iterator[QuadratError]:
    """Give what eval stops at: scenes that are predicted, without the bands that pictures show."""
    wanted = () if eval.pictures is None else eval.pictures.bands
    for finding in findings:
        scene = finding.scene
        if scene.split == "train" or finding.survey is None:
            continue
        lacking = [band for band in wanted if band not in scene.image.bands]
        further = [band for band in wanted if band not in bands]
        if lacking:
            yield ParamsError(
                "eval.pictures.bands names bands that the image has not",
                scene.id,
                expected=", ".join(scene.image.bands),
                got=", ".join(lacking),
                hint="name bands of the catalog's images, or set eval.pictures to null",
            )
        elif further:
            with ExitStack() as files:
                check = SceneCheck(scene, files)
                check.image(further)
            yield from check.faults


def _without_chips(findings: Sequence[Finding], task: Task, chip: Chip) -> Iterator[QuadratError]:
    """Give what chip stops at: more labels wanted of a chip than one can hold, where chips with fewer aren't kept."""
    if chip.negatives is None:
        return
    wanted = np.isin(task.names, task.names if chip.target_classes is None else chip.target_classes)
    seen = [finding.survey.labels for finding in findings if finding.survey and finding.scene.split == "train"]
    most = max((targets_of(task).most_labels(one.features, wanted, chip.chip_size) for one in seen), default=np.inf)
    if any(one.hidden[wanted].any() or one.pixels[wanted].any() for one in seen):
        most = targets_of(task).most_labels(np.full(len(wanted), np.inf), wanted, chip.chip_size)
    if chip.min_targets > most:
        yield ParamsError(
            "no chip can hold as many labels as chip.min_targets wants",
            expected=f"at most {most:.0f} {task.unit}",
            got=chip.min_targets,
            hint="lower chip.min_targets, or set chip.negatives to null to keep chips with fewer",
        )


def _without_model(findings: Sequence[Finding], task: Task, model: Kind, sizes: Sizes) -> Iterator[QuadratError]:
    """Give what train stops at: parameters of which no model can be set up, or of one that can't take its windows."""
    (bands, *_) = (finding.survey.bands for finding in findings if finding.survey)
    some = {"count": 1, "mean": 0.0, "std": 1.0, "min": 0.0, "max": 1.0, "percentiles": {}, "histogram": ()}
    statistics = tuple(BandStatistics.model_validate({"band": name, **some}) for name in names_of(bands))
    try:
        model.check(task, Inputs(bands, statistics), sizes)
    except QuadratError as fault:
        yield fault


def _scenes(findings: Sequence[Finding], found: Sequence[QuadratError]) -> Table:
    table = _table("scene", "split", "px", "CRS", "GSD", "bands", "labels", "AOI", "faults")
    named = [set(re.split(r", | and ", str(fault.scene))) for fault in found]
    for finding in findings:
        scene, one = finding.scene, finding.survey
        faulty = sum(scene.id in names for names in named)
        about = [UNKNOWN] * 6 if one is None else [*_place(one), _bands(one), _labels(one.labels), _share(one)]
        if not scene.labels:
            about[4] = NONE
        table.add_row(scene.id, scene.split, *about, Text(str(faulty or NONE), "bold red" if faulty else ""))
    return table


def _classes(findings: Sequence[Finding], task: Task) -> Table:
    splits = {split: one for split, one in seen(findings, task).items() if split != "predict"}
    table = _table("class", *splits)
    for number, name in enumerate(task.names):
        cells = [_seen(one, number) for one in splits.values()]
        lost = [split == "train" and bool(one.absent[number]) for split, one in splits.items()]
        table.add_row(name, *(Text(c, "bold red" if bad else "") for c, bad in zip(cells, lost, strict=True)))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", justify="left" if column in {"scene", "class", "split"} else "right")
    return table


def _place(one: Survey) -> tuple[str, str, str]:
    """Return the grid's size and CRS, and the ground sample distance where the scene counts, in words."""
    grid = one.grid
    crs = None if grid.crs is None else CRS.from_user_input(grid.crs)
    named = NONE if crs is None else ":".join(crs.to_authority() or (crs.name,))
    return f"{grid.shape[1]}×{grid.shape[0]}", named, f"{grid.gsd_of(one.area):.3g} {'px' if crs is None else 'm'}"


def _bands(one: Survey) -> str:
    """Return how many bands there are, of time series on how many dates, and their types."""
    kinds = dict.fromkeys(band.dtype for band in one.bands)
    dates = len(dates_of(one.bands))
    times = f"{dates}×" if dates else ""
    return f"{times}{len(names_of(one.bands))} {'/'.join(kinds)}" if kinds else UNKNOWN


def _labels(labels: Glimpse) -> str:
    """Return how many features there are, and whether there are pixels."""
    shown = [str(labels.features.sum())] * bool(labels.features.any()) + ["px"] * bool(labels.pixels.any())
    return "+".join(shown) or (UNKNOWN if labels.hidden.any() else "0")


def _share(one: Survey) -> str:
    """Return the share of the image that is within the AOI."""
    area = float(np.prod(one.grid.shape)) * abs(one.grid.transform.determinant)
    return UNKNOWN if one.ground.is_empty else f"{one.ground.area / area:.0%}"


def _counted(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'s' * (number != 1)}"


def _seen(labels: Glimpse, number: int) -> str:
    features, pixels = int(labels.features[number]), int(labels.pixels[number])
    shown = [f"{features:,}"] * bool(features) + [f"{pixels:,} px"] * bool(pixels)
    return " + ".join(shown) or (UNKNOWN if labels.hidden[number] else "0")
