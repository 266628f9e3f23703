"""Scenes are compared with their neighbours, not each with each."""

import math
from dataclasses import replace
from pathlib import Path

import pyproj
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS

from quadrat.errors import OverlapError
from quadrat.geo.grids.grid import Grid, _system
from quadrat.geo.grids.windows import Window
from quadrat.preflight import problems
from quadrat.preflight.label_survey import LabelSurvey
from quadrat.preflight.problems import find_errors, find_warnings
from quadrat.preflight.survey import Finding, Survey
from quadrat.scenes.image import Clear
from quadrat.scenes.scene import Scene, Split
from tests.ground import image, segmentation

SIDE = 32
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def tiles(count: int, place: str | None, step: float = SIDE, path: str = "{}.tif") -> list[Finding]:
    """Return scenes side by side in rows, ``step`` px apart; every second row is in the zone to the west."""
    across, found = math.isqrt(count), []
    for number in range(count):
        row, col = divmod(number, across)
        zone = place is not None and row % 2
        west = 833_979 if zone else 500_000  # of about one place, in two zones
        north = 5_560_200 if zone else 5_540_000
        transform = Affine(10, 0, west + 10 * col * step, 0, -10, north - 10 * row * step)
        if place is None:
            transform = Affine.translation(col * step, row * step)
        grid = Grid(place and CRS.from_epsg(32632 if zone else 32633), transform, (SIDE, SIDE))
        scene = Scene(f"s{number}", SPLITS[number % 3], image(path.format(number)), (), ())
        area, labels = Window(0, 0, SIDE, SIDE), LabelSurvey.nothing(2, hidden=True)
        survey = Survey(scene, grid, area, (), grid.footprint(area), labels, (), ())
        found.append(Finding(scene, survey, ()))
    return found


@pytest.mark.parametrize(("place", "path"), [("utm", "{}.tif"), (None, "photo.jpg")])
def test_pairs_and_reference_systems_grow_with_the_number_of_scenes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str | None, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    pairs, systems = [], []
    moved, made = problems._on_crs_of, pyproj.CRS.from_user_input
    monkeypatch.setattr(problems, "_on_crs_of", lambda other, one: (pairs.append(0), moved(other, one))[1])

    def counted(some: object, **options: object) -> pyproj.CRS:
        systems.extend([some] * (not isinstance(some, pyproj.CRS)))
        return made(some, **options)

    monkeypatch.setattr(pyproj.CRS, "from_user_input", counted)
    counts = []
    for count in (64, 256):
        pairs.clear()
        systems.clear()
        _system.cache_clear()
        findings = tiles(count, place, path=path)
        assert not [error for error in find_errors(findings, segmentation("a", "b")) if isinstance(error, OverlapError)]
        find_warnings(findings, ())
        counts.append((len(pairs), len(systems)))
    assert 0 < counts[0][0] <= 8 * 64
    assert counts[1][0] <= 8 * 256
    assert counts[0][1] == counts[1][1] <= 12


@pytest.mark.parametrize(("place", "path"), [("utm", "{}.tif"), (None, "photo.jpg")])
@pytest.mark.parametrize("step", [SIDE, SIDE - 3, SIDE / 2.5])
def test_the_same_overlaps_are_found_as_by_comparing_each_with_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str | None, path: str, step: float
) -> None:
    monkeypatch.chdir(tmp_path)
    findings = [one for one in tiles(36, place, step, path) if not (place and one.survey.grid.crs.to_epsg() == 32632)]
    ground = [one.survey.ground for one in findings]
    expected = [
        f"{one.scene.id} and {other.scene.id}"
        for number, one in enumerate(findings)
        for at, other in enumerate(findings)
        if number < at
        and one.scene.split != other.scene.split
        and shapely.area(shapely.intersection(ground[number], ground[at])) > 0
    ]
    found = [error for error in find_errors(findings, segmentation("a", "b")) if isinstance(error, OverlapError)]
    assert [error.scene for error in found] == expected
    assert bool(expected) == (step < SIDE)


def test_photos_of_the_same_pixels_are_different_ground() -> None:
    findings = tiles(9, None, 1)
    assert not [error for error in find_errors(findings, segmentation("a", "b")) if isinstance(error, OverlapError)]


def test_entries_of_the_catalog_with_the_pixels_of_one_photo_share_ground() -> None:
    findings = tiles(2, None, SIDE - 3, "photo.jpg")
    other = findings[1].scene.image.model_copy(update={"clear": Clear(band="a", values=(1,))})
    findings[1] = replace(
        findings[1], survey=replace(findings[1].survey, scene=replace(findings[1].scene, image=other))
    )
    (error,) = [one for one in find_errors(findings, segmentation("a", "b")) if isinstance(one, OverlapError)]
    assert error.scene == "s0 and s1"
