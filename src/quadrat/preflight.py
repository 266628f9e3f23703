"""What can be wrong with scenes, found before anything is learnt from them."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from quadrat.errors import CatalogError, ImageError, LabelError, OverlapError
from quadrat.scenes.bands import Band, dates_of, names_of, undated
from quadrat.scenes.files import is_remote
from quadrat.scenes.grid import Grid
from quadrat.scenes.scene import OpenScene, Scene, Split
from quadrat.tasks import Task
from quadrat.windows import Window

GSD_TOLERANCE = 1.2
"""Largest ratio of two scenes' ground sample distances that draws no warning."""


@dataclass(frozen=True)
class Survey:
    """What is known of a scene without reading its pixels."""

    scene: Scene
    grid: Grid
    area: Window
    bands: tuple[Band, ...]
    ground: BaseGeometry
    """The AOI, or the whole image, in map coordinates."""
    strip_height: int
    remarks: tuple[str, ...]
    """What the image's files say of themselves, and the catalog says otherwise."""


@dataclass(frozen=True)
class Census:
    """What was counted of a scene: px of the image, those within the AOI, the valid of these; and labels by class."""

    pixels: int
    inside: int
    valid: int
    class_counts: NDArray[np.int64]

    def __add__(self, other: "Census") -> "Census":
        """Return both counts together."""
        return Census(
            self.pixels + other.pixels,
            self.inside + other.inside,
            self.valid + other.valid,
            self.class_counts + other.class_counts,
        )


def survey(scene: Scene, bands: Sequence[str], task: Task) -> Survey:
    """Open the scene with its labels and AOI; raises what is wrong with any of them."""
    with scene.open(bands, task) as opened:
        raster = opened.raster
        return Survey(
            scene, opened.grid, opened.area, raster.bands, _ground(opened), raster.strip_height, tuple(raster.remarks)
        )


def check(surveys: Sequence[Survey]) -> list[str]:
    """Raise what makes the scenes unfit to learn from together; return warnings."""
    _check_splits(surveys)
    _check_dates(surveys)
    _check_bands(surveys)
    _check_overlap(surveys)
    remarks = dict.fromkeys(remark for one in surveys for remark in one.remarks)  # an image may serve several scenes
    return [*remarks, *_mixed_crs(surveys), *_mixed_gsd(surveys)]


def unwatched(scenes: Sequence[Scene], watched: Sequence[Path]) -> list[str]:
    """Return a warning for each file of the catalog that lies outside the folders that DVC watches."""
    files = {path for scene in scenes for path in scene.files()}
    outside = sorted(file for file in files if not any(Path(file).is_relative_to(folder) for folder in watched))
    folders = " and ".join(map(str, watched))
    return [
        f"{file} is not on this machine: DVC doesn't notice when it changes; `dvc repro --force` reads it anew"
        if is_remote(file)
        else f"{file} lies outside {folders}: DVC won't notice when it changes"
        for file in outside
    ]


def check_counts(surveys: Sequence[Survey], censuses: Sequence[Census], task: Task) -> list[str]:
    """Raise for scenes without data and classes without training labels; return warnings."""
    for one, census in zip(surveys, censuses, strict=True):
        if not census.valid:
            raise ImageError(
                "no pixel of the scene is valid within its area of interest",
                one.scene.id,
                one.scene.image.file_of(one.bands[0].name),
                expected=f"a pixel with a value in every one of the bands {', '.join(names_of(one.bands))}"
                + (", on one date at least" if dates_of(one.bands) else ""),
                mend="check 'nodata' in the catalog, and that each band has data there",
            )
    by_split = {
        split: np.sum(
            [c.class_counts for s, c in zip(surveys, censuses, strict=True) if s.scene.split == split], axis=0
        )
        for split in dict.fromkeys(s.scene.split for s in surveys)
    }
    missing = [name for name, count in zip(task.names, by_split["train"], strict=True) if not count]
    if missing:
        raise LabelError(
            "no training label has this class",
            expected=", ".join(missing),
            got=", ".join(f"{n} {int(c)} {task.unit}" for n, c in zip(task.names, by_split["train"], strict=True)),
            mend="label it in a train scene, add the labels' value to its 'from', or take it out of task.classes",
        )
    return [
        f"split '{split}' has no label of class {name}: its metrics will be undefined there"
        for split in by_split
        if split in ("validation", "test")
        for name, count in zip(task.names, by_split[split], strict=True)
        if not count
    ]


def _ground(scene: OpenScene) -> BaseGeometry:
    if scene.aoi is None:
        return scene.grid.footprint(scene.grid.area)
    transform = scene.grid.transform
    matrix = np.array([[transform.a, transform.b], [transform.d, transform.e]])
    mapped = shapely.transform(scene.aoi.geometry, lambda xy: xy @ matrix.T + (transform.c, transform.f))
    return shapely.union_all(mapped)


def _check_splits(surveys: Sequence[Survey]) -> None:
    splits = [s.scene.split for s in surveys]
    for split, why in (("train", "there is nothing to learn from"), ("validation", "no weights could be chosen")):
        if split not in splits:
            raise CatalogError(
                f"no scene of split '{split}': {why}",
                expected=f"at least one scene with split '{split}'",
                got=", ".join(f"{s.scene.id}: {s.scene.split}" for s in surveys),
                mend="one image may serve several scenes with different AOIs",
            )


def _check_dates(surveys: Sequence[Survey]) -> None:
    counts = {one.scene.id: len(dates_of(one.bands)) for one in surveys}
    first = surveys[0].scene.id
    for scene, count in counts.items():
        if count != counts[first]:
            raise CatalogError(
                "the scenes' images have different numbers of dates",
                scene,
                expected=f"{counts[first]} (scene {first})",
                got=", ".join(f"{other}: {n}" for other, n in counts.items()),
                mend="give all images as many 'dates'; their names may differ",
            )


def _check_bands(surveys: Sequence[Survey]) -> None:
    first = surveys[0]
    for other in surveys[1:]:
        for mine, theirs in zip(undated(first.bands), undated(other.bands), strict=True):
            if mine != theirs:
                raise CatalogError(
                    f"band {mine.name} means different things in different scenes",
                    other.scene.id,
                    expected=f"{_meaning(mine)} (scene {first.scene.id})",
                    got=_meaning(theirs),
                    mend="correct unit, scale, offset or nodata in the catalog, or convert the image",
                )


def _meaning(band: Band) -> str:
    return f"{band.dtype} × {band.scale:g} + {band.offset:g} {band.unit}, nodata {band.nodata}"


def _check_overlap(surveys: Sequence[Survey]) -> None:
    scored: list[Split] = ["train", "validation", "test"]
    for one, other in combinations([s for s in surveys if s.scene.split in scored], 2):
        if one.scene.split == other.scene.split or _place(one) != _place(other):
            continue
        shared = shapely.intersection(one.ground, _on_crs_of(other, one))
        pixels = shared.area / abs(one.grid.transform.determinant)
        if pixels >= 1:
            raise OverlapError(
                f"a {one.scene.split} and a {other.scene.split} scene share ground: the metrics would be too good",
                f"{one.scene.id} and {other.scene.id}",
                got=f"{pixels:.0f} px of {one.scene.id}, within {tuple(round(v, 6) for v in shared.bounds)}",
                mend="give them areas of interest that don't overlap",
            )


def _place(one: Survey) -> Hashable:
    """Return where a scene lies: on the Earth, or in the pixel coordinates of its image."""
    return "Earth" if one.grid.on_earth else one.scene.image


def _on_crs_of(other: Survey, one: Survey) -> BaseGeometry:
    if other.grid.crs == one.grid.crs:
        return other.ground
    side = abs(other.grid.transform.determinant) ** 0.5
    dense = shapely.segmentize(other.ground, 64 * side)  # straight in one CRS is bent in another
    moved: BaseGeometry = geopandas.GeoSeries([dense], crs=other.grid.crs).to_crs(one.grid.crs).iloc[0]
    return moved


def _mixed_crs(surveys: Sequence[Survey]) -> Iterator[str]:
    groups = _grouped(surveys, lambda s: s.grid.crs.to_string() if s.grid.crs else "no CRS")
    if len(groups) > 1:
        shown = "; ".join(f"{crs}: {', '.join(ids)}" for crs, ids in groups.items())
        yield f"the scenes are in {len(groups)} CRSs ({shown}): each is read on its own grid"


def _mixed_gsd(surveys: Sequence[Survey]) -> Iterator[str]:
    finest, coarsest = (f(surveys, key=lambda s: s.grid.gsd) for f in (min, max))
    if coarsest.grid.gsd > GSD_TOLERANCE * finest.grid.gsd:
        yield (
            f"pixels differ in size: {finest.grid.gsd:.3g} m in {finest.scene.id}, "
            f"{coarsest.grid.gsd:.3g} m in {coarsest.scene.id}: a model learns sizes in px"
        )


def _grouped(surveys: Sequence[Survey], key: Callable[[Survey], str]) -> dict[str, list[str]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for one in surveys:
        groups[key(one)].append(one.scene.id)
    return dict(groups)
