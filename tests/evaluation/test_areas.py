"""Areas of classes are those of their pixels on the ellipsoid, and each row of a map is read once for them."""

import math
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from pyproj import Geod
from rasterio.crs import CRS
from shapely.geometry import Polygon

from quadrat.evaluation.areas import Areas, Ground, Measured, write_areas
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window, strips
from tests.ground import NORTH_UP, UTM

PLACES = {
    "UTM": (UTM, NORTH_UP),
    "Web Mercator at 60°": ("EPSG:3857", Affine(10, 0, 1.4e6, 0, -10, 8_399_737)),
    "degrees": ("EPSG:4326", Affine(0.01, 0, 15, 0, -0.01, 60)),
    "large degrees": ("EPSG:4326", Affine(0.5, 0, -40, 0, -0.5, 75)),
    "north polar stereographic": ("EPSG:3413", Affine(500, 0, 1.2e6, 0, -500, -1.5e6)),
    "degrees, on their side": ("EPSG:4326", Affine(0, 0.01, 15, -0.01, 0, 60)),
    "US survey feet": ("EPSG:2263", Affine(1, 0, 980_000, 0, -1, 200_000)),
}


def some_ids(height: int, width: int) -> NDArray[np.uint8]:
    """Return three classes and a hole, each in a corner, so that none has the mean size of pixels."""
    ids = np.full((height, width), IGNORE, np.uint8)
    ids[: height // 2, : width // 2], ids[height // 2 :, : width // 2], ids[height // 2 :, width // 2 :] = 0, 1, 2
    return ids


def measured(grid: Grid, ids: NDArray[np.uint8], classes: int) -> Areas:
    """Return the areas of a whole map, measured in strips."""
    ground = Ground.of(grid, grid.area)
    parts = (ground.areas(window, ids[window.slices()], classes) for window in strips(grid.area, 30))
    return sum(parts, Areas.none(classes))


@pytest.mark.parametrize("place", PLACES)
def test_hectares_are_those_of_each_pixel_by_itself(place: str) -> None:
    crs, transform = PLACES[place]
    ids = some_ids(90, 300)
    window = Window(10, 20, *ids.shape)
    grid = Grid(CRS.from_user_input(crs), transform, (100, 330))
    rows, cols = np.indices(ids.shape)
    each = grid.pixel_areas(np.column_stack([cols.ravel() + 20.5, rows.ravel() + 10.5])).reshape(ids.shape)
    found = Ground.of(grid, window).areas(window, ids, 3)
    np.testing.assert_array_equal(found.pixels, [np.count_nonzero(ids == n) for n in range(3)])
    np.testing.assert_allclose(found.hectares, [each[ids == n].sum() / 1e4 for n in range(3)], rtol=5e-5)


def test_a_field_has_the_area_of_its_geodesic_outline() -> None:
    grid = Grid(CRS.from_user_input("EPSG:4326"), Affine(1e-3, 0, 13, 0, -1e-3, 52), (400, 300))
    ids = np.full((400, 300), IGNORE, np.uint8)
    ids[100:300, 50:150] = 0  # in the upper part of a tile
    outline = Polygon([(13.05, 51.9), (13.15, 51.9), (13.15, 51.7), (13.05, 51.7)]).segmentize(0.001)
    area, _ = Geod(ellps="WGS84").geometry_area_perimeter(outline)
    assert measured(grid, ids, 1).hectares[0] == pytest.approx(abs(area) / 1e4, rel=2e-5)


@pytest.mark.parametrize("side", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("south", [False, True])
def test_coarse_pixels_have_the_area_of_their_outlines(side: float, south: bool) -> None:
    top = -30.0 if south else 80.0
    grid = Grid(CRS.from_user_input("EPSG:4326"), Affine(side, 0, 20, 0, -side, top), (24, 6))
    ids = np.repeat(np.arange(24, dtype=np.uint8), 6).reshape(24, 6)
    found = measured(grid, ids, 24).hectares
    for number, hectares in enumerate(found.tolist()):
        high, low = top - side * number, top - side * (number + 1)
        east = 20 + 6 * side
        outline = Polygon([(20, low), (east, low), (east, high), (20, high)]).segmentize(side / 20)
        area, _ = Geod(ellps="WGS84").geometry_area_perimeter(outline)
        assert hectares == pytest.approx(abs(area) / 1e4, rel=1e-4 + side**2 / 1e4)  # a pixel's middle is its mean


def test_the_whole_earth_in_degrees_has_its_area() -> None:
    grid = Grid(CRS.from_epsg(4326), Affine(0.5, 0, -180, 0, -0.5, 90), (360, 720))
    found = measured(grid, np.zeros(grid.shape, np.uint8), 1)
    assert found.hectares[0] == pytest.approx(51_006_562_172, rel=2e-5)


def test_a_map_without_a_place_on_earth_has_pixels_and_no_hectares(tmp_path: Path) -> None:
    ids = some_ids(9, 9)
    found = measured(Grid(None, Affine.identity(), (9, 9)), ids, 3)
    assert found.pixels.sum() == np.count_nonzero(ids != IGNORE)
    assert np.isnan(found.hectares).all()
    write_areas(tmp_path / "areas.csv", ["a", "b, c", "d"], {"s": found})
    rows = (tmp_path / "areas.csv").read_text().splitlines()
    assert rows[0] == "scene,class,hectares,pixels"
    assert rows[2] == f's,"b, c",,{found.pixels[1]}'


@dataclass
class Source:
    """A map of 700 rows, which counts how often each is read."""

    ids: NDArray[np.uint8]
    read: Counter[int]

    def class_ids(self, _layer: str, window: Window, _names: Any) -> NDArray[np.uint8]:
        self.read.update(range(window.row, window.bottom))
        return self.ids[window.slices()]


@dataclass
class Place:
    """A scene with an area of interest: its left half, from row 5 on."""

    grid: Grid
    area: Window

    def within(self, window: Window, class_ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.where(np.arange(window.width) < 20, class_ids, np.uint8(IGNORE))


@contextmanager
def opened() -> Any:
    ids = np.zeros((700, 40), np.uint8)
    ids[300:] = 1
    source = Source(ids, Counter())
    scene: Any = Place(Grid(CRS.from_user_input(UTM), NORTH_UP, (700, 40)), Window(5, 0, 690, 40))
    yield source, Measured(source, "labels", scene, ["a", "b"])  # type: ignore[arg-type] # of class ids alone


@pytest.mark.parametrize("before", ["nothing", "the first rows", "all rows", "all rows twice", "another width"])
def test_rows_are_measured_once_whoever_reads_them(before: str) -> None:
    with opened() as (source, measured):
        area = Window(5, 0, 690, 40)
        passes = {"the first rows": [list(strips(area, 256))[:1]], "all rows": [list(strips(area, 256))]}
        passes["all rows twice"] = passes["all rows"] * 2
        passes["another width"] = [[Window(5, 3, 690, 7)]]
        for windows in passes.get(before, []):
            for window in windows:
                np.testing.assert_array_equal(measured.class_ids("labels", window, "ab"), source.ids[window.slices()])
        found = measured.areas()
        assert found.pixels.tolist() == [295 * 20, 395 * 20]
        assert found.hectares[0] / found.hectares[1] == pytest.approx(295 / 395, rel=1e-4)
        assert math.isfinite(found.hectares.sum())
        if before in {"nothing", "the first rows", "all rows"}:
            assert source.read == Counter(range(5, 695))


def test_small_plots_are_written_with_four_digits(tmp_path: Path) -> None:
    found = Areas(np.array([9, 9, 9]), np.array([0.0000314159, 0.0, 12.3456789]))  # 0.3 m² of weeds
    write_areas(tmp_path / "areas.csv", ["a", "b", "c"], {"s": found})
    rows = (tmp_path / "areas.csv").read_text().splitlines()[1:]
    assert rows == ["s,a,3.142e-05,9", "s,b,0.0,9", "s,c,12.3457,9"]
