"""analyze: exact statistics of the training pixels, a table of the scenes, and what is wrong with them."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from quadrat.errors import printable
from quadrat.geo.geometry.footprints import EARTH
from quadrat.geo.grids.resampling import ResamplingName
from quadrat.geo.grids.windows import Window, strips
from quadrat.geo.sources.bands import Band, names_of
from quadrat.geo.statistics.band_statistics import BandStatistics, Statistics, Tally
from quadrat.preflight.class_counts import SceneCounts, count_errors, count_warnings
from quadrat.preflight.fill_values import Fills, fill_warnings, fills, may_fill
from quadrat.preflight.problems import find_errors, find_warnings
from quadrat.preflight.survey import Survey, footprints, survey
from quadrat.runtime.cache.snapshot import Snapshot
from quadrat.runtime.failures import raise_all, succeeded
from quadrat.runtime.files import replaced, write_json
from quadrat.runtime.formats.section import Section
from quadrat.runtime.parallel import Executor, Outcome, results
from quadrat.runtime.progress import track, warn
from quadrat.runtime.run import Paths, Run
from quadrat.scenes.catalog import read_catalog
from quadrat.scenes.input_files import input_files, raise_changes
from quadrat.scenes.pins import check_pins
from quadrat.scenes.scene import OpenScene
from quadrat.tasks import Task
from quadrat.tasks.common.parts import targets_of

if TYPE_CHECKING:
    import geopandas

    from quadrat.geo.reading.open_image import Strip

PART_ROWS = 2048
"""Rows of a scene per unit of work; fixed, so that sums do not depend on the number of workers."""

NO_WARNING = "no warnings"
"""The content of the file of warnings if there are none, because DVC warns of empty files."""


class Analyze(Section):
    """How the distribution of each band is written."""

    percentiles: tuple[Annotated[float, Field(ge=0, le=100)], ...] = (1, 2, 5, 25, 50, 75, 95, 98, 99)
    """Percentiles in ``stats.json``."""
    histogram_bins: int = Field(default=64, ge=1, le=65_536)
    """Number of equal bins from the smallest to the largest value."""


@dataclass(frozen=True)
class Part:
    """Some rows of a scene's area."""

    survey: Survey
    window: Window


@dataclass(frozen=True)
class Counted:
    """The counts of a part."""

    part: Part
    counts: SceneCounts
    tallies: Sequence[Tally]
    """One per band, for train scenes only."""
    fills: Fills
    """See ``quadrat.preflight.fill_values``."""


@dataclass(frozen=True)
class AnalyzeParams:
    """The sections that analyze takes."""

    scenes: Path
    raw: Path
    aoi: Path
    task: Task
    bands: tuple[str, ...]
    analyze: Analyze


def analyze(params: AnalyzeParams, paths: Paths, run: Run) -> None:
    """Write statistics (per band over train ∩ AOI ∩ valid), the table of scenes, warnings, metrics and plots.

    Raises the errors that ``scenes.pins``, ``preflight.problems`` and ``preflight.class_counts`` find, and InputError
    if a file is changed meanwhile, before anything is written.
    """
    task, bands = params.task, params.bands
    begun = Snapshot.of(params.scenes, paths.pins)
    catalog = read_catalog(params.scenes)
    check_pins(catalog, paths.pins)
    files = input_files(catalog)
    look = partial(survey, bands=bands, task=task)
    findings = list(track(results(run.executor.map(look, catalog)), "survey", len(catalog), "scenes"))
    raise_all(find_errors(findings, task))
    surveys = [finding.survey for finding in findings if finding.survey]
    scene_counts, tallies, found = _count(surveys, task, bands, run.executor)
    raise_all(count_errors(surveys, scene_counts, task))
    noted = find_warnings(findings, (params.raw, params.aoi)) + count_warnings(surveys, scene_counts, task)
    noted += [line for one in surveys for line in fill_warnings(one.scene, one.bands, found[one.scene.id])]
    statistics = tuple(
        tally.statistics(name, params.analyze.percentiles, params.analyze.histogram_bins).model_copy(
            update={"resampling": _resampling(surveys, number, len(bands))}
        )
        for number, (name, tally) in enumerate(zip(bands, tallies, strict=True))
    )
    raise_changes(begun, files)
    write_json(paths.stats, Statistics(bands=statistics).model_dump())
    _write_table(paths.table, surveys, scene_counts, task.columns)
    with replaced(paths.warnings, synced=True) as part:
        part.write_text("".join(f"{printable(line)}\n" for line in noted or [NO_WARNING]), encoding="utf-8")
    write_json(paths.analyze_metrics, _metrics(surveys, scene_counts))
    _write_class_plot(paths.class_plot, surveys, scene_counts, task.names)
    _write_band_plot(paths.band_plot, statistics)
    for line in noted:
        warn(line)


def _count(
    surveys: Sequence[Survey], task: Task, bands: Sequence[str], executor: Executor
) -> tuple[list[SceneCounts], list[Tally], dict[str, Fills]]:
    parts = [Part(one, window) for one in surveys for window in strips(one.area, PART_ROWS)]
    none = np.zeros(len(task.classes), np.int64)
    height, width = zip(*(one.grid.shape for one in surveys), strict=True)
    scene_counts = {
        one.scene.id: SceneCounts(h * w, 0, 0, none) for one, h, w in zip(surveys, height, width, strict=True)
    }
    tallies = _tallies(surveys[0].bands)
    found = {one.scene.id: Fills() for one in surveys}
    outcomes = executor.map(partial(_count_part, task=task, bands=bands), parts)
    counted = track(outcomes, "analyze", len(parts), "parts", _pixels)
    for one in succeeded((part.survey.scene.id for part in parts), counted):
        scene_counts[one.part.survey.scene.id] += one.counts
        found[one.part.survey.scene.id] += one.fills
        for tally, more in zip(tallies, one.tallies, strict=False):  # none of held-out scenes
            tally.merge(more)
    return list(scene_counts.values()), tallies, found


def _pixels(outcome: Outcome[Counted]) -> int:
    return outcome.given.part.window.size if outcome.given else 0


def _count_part(part: Part, *, task: Task, bands: Sequence[str]) -> Counted:
    learnt = part.survey.scene.split == "train"
    tallies = _tallies(part.survey.bands) if learnt else []
    counted = Counted(part, SceneCounts(0, 0, 0, np.zeros(len(task.classes), np.int64)), tallies, Fills())
    with part.survey.scene.open(bands, task) as scene:
        for strip in scene.raster.tiles(part.window):
            counted = _count_strip(strip, scene, task, counted)
            del strip  # the next is read into its memory
    return counted


def _count_strip(strip: "Strip", scene: OpenScene, task: Task, so_far: Counted) -> Counted:
    survey = so_far.part.survey
    within = None if scene.aoi is None else scene.aoi.mask(strip.window)
    counted = strip.valid if within is None else strip.valid & within
    for date, (values, seen) in enumerate(zip(strip.by_date, strip.seen, strict=True)):
        here = seen if within is None else seen & within
        every = bool(here.all())
        for number, some in enumerate(values):
            place = date * len(values) + number
            if so_far.tallies or may_fill(survey.bands[place]):
                known = (some if every else some[here]).astype(survey.bands[place].dtype, copy=False)
                so_far.fills.update(fills(known, survey.scene, survey.bands, place))
                for tally in so_far.tallies[number : number + 1]:  # none of held-out scenes
                    tally.add(known)
    none = np.zeros(len(task.classes), np.int64)
    labels = none if scene.labels is None else targets_of(task).label_counts(scene.labels, strip.window, counted)
    inside = strip.window.size if within is None else int(np.count_nonzero(within))
    counts = SceneCounts(0, inside, int(np.count_nonzero(counted)), labels)
    return replace(so_far, counts=so_far.counts + counts)


def _tallies(bands: Sequence[Band]) -> list[Tally]:
    """Return a tally per band, which all its dates share."""
    return [Tally(np.dtype(band.dtype)) for band in bands[: len(names_of(bands))]]


def _resampling(surveys: Sequence[Survey], number: int, bands: int) -> ResamplingName | None:
    """Return how the files of a band were brought to the grid, by ``BandStatistics.resampling``."""
    train = [one.resampling[number::bands] for one in surveys if one.scene.split == "train"]
    ways = Counter(way for found in train for way in dict.fromkeys(found) if way is not None)
    return ways.most_common(1)[0][0] if ways else None


def _write_table(
    path: Path, surveys: Sequence[Survey], scene_counts: Sequence[SceneCounts], columns: Sequence[str]
) -> None:
    """Write a row for each scene; its geometry is the area that counts (longitude, latitude)."""
    import geopandas
    import pandas as pd

    rows = [
        {
            "scene": one.scene.id,
            "split": one.scene.split,
            "crs": one.grid.crs.to_string() if one.grid.crs else None,
            "gsd": one.grid.gsd_of(one.area),
            "height": one.grid.shape[0],
            "width": one.grid.shape[1],
            "pixels": counts.inside,
            "valid": counts.valid / max(1, counts.inside),
            **{name: int(n) for name, n in zip(columns, counts.class_counts, strict=True)},
        }
        for one, counts in zip(surveys, scene_counts, strict=True)
    ]
    with replaced(path, synced=True) as part:
        geopandas.GeoDataFrame(pd.DataFrame(rows), geometry=_ground(surveys)).to_parquet(part)


def _ground(surveys: Sequence[Survey]) -> "geopandas.GeoSeries":
    """Return the area that counts of each scene, in longitude and latitude; in px if no scene is on Earth."""
    import geopandas

    if not any(one.grid.on_earth for one in surveys):
        return geopandas.GeoSeries([one.ground for one in surveys])
    return geopandas.GeoSeries(footprints(surveys, [one.ground for one in surveys]), crs=EARTH)


def _metrics(surveys: Sequence[Survey], scene_counts: Sequence[SceneCounts]) -> dict[str, dict[str, float | int]]:
    splits = list(dict.fromkeys(one.scene.split for one in surveys))
    found: dict[str, dict[str, float | int]] = {}
    for split in splits:
        mine = [c for one, c in zip(surveys, scene_counts, strict=True) if one.scene.split == split]
        inside, valid = sum(c.inside for c in mine), sum(c.valid for c in mine)
        found[split] = {
            "scenes": len(mine),
            "pixels": inside,
            "valid": round(valid / inside, 4),
            "labels": sum(int(c.class_counts.sum()) for c in mine),
        }
    return found


def _write_class_plot(
    path: Path, surveys: Sequence[Survey], scene_counts: Sequence[SceneCounts], names: Sequence[str]
) -> None:
    import pandas as pd

    rows = [
        {"split": one.scene.split, "scene": one.scene.id, "class": name, "labels": int(count)}
        for one, counts in zip(surveys, scene_counts, strict=True)
        if one.scene.split != "predict"
        for name, count in zip(names, counts.class_counts, strict=True)
    ]
    with replaced(path, synced=True) as part:
        pd.DataFrame(rows).to_csv(part, index=False)


def _write_band_plot(path: Path, statistics: Sequence[BandStatistics]) -> None:
    import pandas as pd

    rows = [
        {"band": s.band, "value": low, "pixels": pixels}
        for s in statistics
        for low, pixels in zip(_edges(s), s.histogram, strict=True)
    ]
    with replaced(path, synced=True) as part:
        pd.DataFrame(rows).to_csv(part, index=False)


def _edges(statistics: BandStatistics) -> Iterator[float]:
    width = (statistics.max - statistics.min) / len(statistics.histogram)
    decimals = max(6, 5 - math.floor(math.log10(width))) if width else 6  # bins may be far narrower than 1e-6
    return (round(statistics.min + width * number, decimals) for number in range(len(statistics.histogram)))
