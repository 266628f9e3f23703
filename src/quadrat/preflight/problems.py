"""Errors and warnings of scenes, before training."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from quadrat.errors import CatalogError, OverlapError, QuadratError
from quadrat.geo.geometry.extents import period
from quadrat.geo.geometry.parts import single, valid
from quadrat.geo.grids.grid import system_of
from quadrat.geo.sources.bands import Band, dates_of, names_of, undated
from quadrat.geo.sources.channel import is_remote
from quadrat.preflight.class_counts import unlabelled
from quadrat.preflight.survey import Finding, Survey, footprints
from quadrat.preflight.unversioned_files import left_out
from quadrat.scenes.companion_files import Belongings
from quadrat.scenes.scene import Scene, Split
from quadrat.tasks import Task

GSD_TOLERANCE = 1.2
"""Largest ratio of two scenes' ground sample distances without a warning."""


LEAST_SHARE = 0.01
"""Of a scene's ground, how much is shared where that is less than a px of a coarser scene."""


def find_errors(findings: Sequence[Finding], task: Task) -> list[QuadratError]:
    """Return the errors of analyze that need no pixels: of single scenes, and between scenes."""
    surveys = [finding.survey for finding in findings if finding.survey]
    return [
        *_lacking_splits([finding.scene for finding in findings]),
        *(error for finding in findings for error in finding.errors),
        *_differing_dates(surveys),
        *_differing_bands(surveys),
        *_overlaps(surveys),
        *left_out((one.scene for one in surveys if one.files), Belongings()),
        *unlabelled(findings, task),
    ]


def find_warnings(findings: Sequence[Finding], watched: Sequence[Path]) -> list[str]:
    """Return the warnings of scenes."""
    surveys = [finding.survey for finding in findings if finding.survey]
    remarks = dict.fromkeys(remark for one in surveys for remark in one.remarks)  # an image may serve several scenes
    files = {path for one in surveys for path in one.files}
    return [*unwatched(files, watched), *remarks, *_mixed_crs(surveys), *_mixed_gsd(surveys)]


def unwatched(files: Iterable[str], watched: Sequence[Path]) -> list[str]:
    """Return a warning for each local file of a catalog outside the folders that DVC watches.

    Remote files are pinned (``quadrat.scenes.pins``), and DVC watches the pins.
    """
    belongings = Belongings()
    here = {file for file in files if not is_remote(file)}
    outside = sorted({file for path in here for file in _outside(path, belongings, watched)})
    folders = " and ".join(map(str, watched))
    return [f"{file} lies outside {folders}: DVC won't notice when it changes" for file in outside]


def _outside(path: str, belongings: Belongings, watched: Sequence[Path]) -> Iterator[str]:
    """Give a path that lies outside, or else what it stands for, or refers to, and that does."""
    whole = [Path(os.path.abspath(folder)) for folder in watched]  # noqa: PTH100 (links stay)
    files = {os.path.normpath(file) for file in belongings.of(path) or [path]}
    outside = [file for file in files if not any(map(Path(os.path.abspath(file)).is_relative_to, whole))]  # noqa: PTH100
    yield from [path] if os.path.normpath(path) in outside else outside


def _lacking_splits(scenes: Sequence[Scene]) -> Iterator[QuadratError]:
    splits = [scene.split for scene in scenes]
    for split, why in (("train", "there is nothing to learn from"), ("validation", "no weights could be chosen")):
        if split not in splits:
            yield CatalogError(
                f"no scene of split '{split}': {why}",
                expected=f"at least one scene with split '{split}'",
                got=", ".join(f"{scene.id}: {scene.split}" for scene in scenes),
                hint="one image may serve several scenes with different AOIs",
            )


def _differing_dates(surveys: Sequence[Survey]) -> Iterator[QuadratError]:
    whole = [one for one in surveys if one.bands]
    counts = [len(dates_of(one.bands)) for one in whole]
    for one, count in zip(whole, counts, strict=True):
        if count != counts[0]:
            yield CatalogError(
                "the scenes' images have different numbers of dates",
                one.scene.id,
                expected=f"{counts[0]} (scene {whole[0].scene.id})",
                got=count,
                hint="give all images as many 'dates'; they may be others",
            )


def _differing_bands(surveys: Sequence[Survey]) -> Iterator[QuadratError]:
    whole = [one for one in surveys if one.bands]
    whole = [one for one in whole if len(one.bands) == len(whole[0].bands)]  # other dates are reported
    for first, other in zip(whole[:1] * len(whole), whole, strict=True):
        pairs = zip(undated(first.bands), undated(other.bands), strict=True)
        differing = [(mine, theirs) for mine, theirs in pairs if mine != theirs]
        for mine, theirs in differing[:1]:
            names = list(names_of([band for band, _ in differing]))
            yield CatalogError(
                f"band {names[0]} has different meanings in different scenes"
                if len(names) == 1
                else f"bands {', '.join(names)} have different meanings in different scenes",
                other.scene.id,
                expected=f"{_meaning(mine)} (scene {first.scene.id})",
                got=_meaning(theirs),
                hint="correct unit, scale, offset or nodata in the catalog, or convert the image",
            )


def _meaning(band: Band) -> str:
    return f"{band.dtype} × {band.scale:g} + {band.offset:g} {band.unit}, nodata {band.nodata}"


def _overlaps(surveys: Sequence[Survey]) -> Iterator[QuadratError]:
    scored: list[Split] = ["train", "validation", "test"]
    for one, other in _neighbours([s for s in surveys if s.scene.split in scored]):
        moved = _on_crs_of(other, one)
        shared = shapely.intersection(one.ground, moved)
        pixels = shared.area / abs(one.grid.transform.determinant)
        if pixels >= 1 or shared.area > LEAST_SHARE * moved.area:
            much = (
                f"{pixels:.0f} px of {one.scene.id}"
                if pixels >= 1
                else f"{shared.area / moved.area:.0%} of {other.scene.id}"
            )
            yield OverlapError(
                f"a {one.scene.split} and a {other.scene.split} scene share ground: the metrics would be too good",
                f"{one.scene.id} and {other.scene.id}",
                got=f"{much}, within {tuple(round(v, 6) for v in shared.bounds)}",
                hint="give them areas of interest that don't overlap",
            )


def _neighbours(surveys: Sequence[Survey]) -> Iterator[tuple[Survey, Survey]]:
    """Yield the pairs of scenes of different splits that may overlap: on Earth, or in the pixels of an image."""
    earth = footprints(surveys, [_dense(one) for one in surveys])
    parts, owners = shapely.get_parts(earth, return_index=True)
    near = _near(_wider(shapely.bounds(parts)), owners, surveys)
    photos: defaultdict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(surveys):
        if earth[number] is None:
            image = one.scene.image  # entries of the catalog may differ, and be of the same pixels
            photos[os.path.realpath(image.file_of(image.grid_band))].append(number)
    for mine in photos.values():
        near |= _near(shapely.bounds([surveys[number].ground for number in mine]), np.array(mine), surveys)
    yield from ((surveys[first], surveys[second]) for first, second in sorted(near))


def _near(bounds: NDArray[np.float64], owners: NDArray[np.intp], surveys: Sequence[Survey]) -> set[tuple[int, int]]:
    """Return the pairs of scenes of different splits whose ``bounds`` meet; ``owners`` are their numbers, in order."""
    boxes = np.asarray(shapely.box(*bounds.T), object)
    splits = np.array([surveys[owner].scene.split for owner in owners])
    found = set[tuple[int, int]]()
    for split in dict.fromkeys(splits.tolist()):
        here, there = np.flatnonzero(splits == split), np.flatnonzero(splits != split)
        pairs = shapely.STRtree(boxes[here]).query(boxes[there], predicate="intersects")
        later, earlier = owners[there[pairs[0]]], owners[here[pairs[1]]]
        ahead = earlier < later
        found.update(zip(earlier[ahead].tolist(), later[ahead].tolist(), strict=True))
    return found


def _dense(one: Survey) -> BaseGeometry:
    """Return a scene's ground with more vertices, because straight lines bend in another CRS."""
    dense: BaseGeometry = shapely.segmentize(one.ground, 64 * abs(one.grid.transform.determinant) ** 0.5)
    return dense


def _wider(bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return bounds with a margin, for edges that bend between vertices; all of the Earth where there are none."""
    margin = 0.01 * (bounds[:, 2:] - bounds[:, :2]) + 1e-6
    wider = bounds + np.hstack([-margin, margin])
    return np.where(np.isfinite(wider).all(1, keepdims=True), wider, (-180, -90, 180, 90))


def _on_crs_of(other: Survey, one: Survey) -> BaseGeometry:
    """Return the ground of another scene in the CRS of one, if it is near."""
    from quadrat.geo.geometry.reprojection import NoPlaceError, brought

    if not one.grid.on_earth:
        return other.ground
    if one.grid.crs == other.grid.crs and not period(system_of(one.grid.crs)):
        return shapely.union_all(valid(single(np.array([other.ground], object))[0]))
    parts, _ = single(np.array([_dense(other)], object))
    try:
        moved, _ = brought(parts, other.grid.crs, one.grid)
    except NoPlaceError:  # it is outside of the other CRS
        return shapely.Polygon()
    return shapely.union_all(valid(moved))


def _mixed_crs(surveys: Sequence[Survey]) -> Iterator[str]:
    name = cache(lambda crs: crs.to_string() if crs else "no CRS")
    groups = _grouped(surveys, lambda s: name(s.grid.crs))
    if len(groups) > 1:
        shown = "; ".join(f"{crs}: {', '.join(ids)}" for crs, ids in groups.items())
        yield f"the scenes are in {len(groups)} CRSs ({shown}): each is read on its own grid"


def _mixed_gsd(surveys: Sequence[Survey]) -> Iterator[str]:
    placed = [one for one in surveys if one.grid.crs is not None]  # a photo has no place
    if not placed:
        return
    sizes = [(one.grid.gsd_of(one.area), one.scene.id) for one in placed]
    (least, finest), (most, coarsest) = min(sizes), max(sizes)
    if most > GSD_TOLERANCE * least:
        yield (
            f"pixels differ in size: {least:.3g} m in {finest}, {most:.3g} m in {coarsest}: a model learns sizes in px"
        )


def _grouped(surveys: Sequence[Survey], key: Callable[[Survey], str]) -> dict[str, list[str]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for one in surveys:
        groups[key(one)].append(one.scene.id)
    return dict(groups)
