"""A large area seen in few pixels: against naive loops over blocks, and known lengths on the ground."""

import math
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from quadrat.evaluation import thumbnails
from quadrat.evaluation.thumbnails import ThumbnailGrid, ground_width
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from tests.ground import NORTH_UP, opened, write_raster
from tests.scenes.test_dates import series, write_dates

SHAPE = (90, 70)


@st.composite
def lattices(draw: st.DrawFn) -> ThumbnailGrid:
    row, col = draw(st.integers(0, SHAPE[0] - 1)), draw(st.integers(0, SHAPE[1] - 1))
    height, width = draw(st.integers(1, SHAPE[0] - row)), draw(st.integers(1, SHAPE[1] - col))
    return ThumbnailGrid.of(Window(row, col, height, width), draw(st.integers(1, 100)))


@given(lattices(), st.integers(1, 40))
def test_pick_takes_the_middle_of_each_block_however_it_reads(some: ThumbnailGrid, rows: int) -> None:
    grid = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thumbnails, "STRIP_ROWS", rows)
        picked = some.pick(lambda window: grid[window.slices()])
    assert picked.shape == some.shape
    area = grid[some.area.slices()]
    for (y, x), value in np.ndenumerate(picked):
        top, left = y * some.step, x * some.step
        row, col = (min(i + some.step // 2, n - 1) for i, n in zip((top, left), area.shape, strict=True))
        assert value == area[row, col]


@given(lattices())
def test_the_lattice_is_the_finest_that_fits(some: ThumbnailGrid) -> None:
    assert math.ceil(max(some.area.shape) / some.step) == max(some.shape)
    finer = ThumbnailGrid(some.area, some.step - 1) if some.step > 1 else None
    assert finer is None or max(finer.shape) > max(some.shape)


@pytest.mark.parametrize(
    ("area", "size"), [(Window(0, 0, 300, 70), 23), (Window(33, 5, 220, 60), 90), (Window(7, 1, 90, 9), 999)]
)
def test_mean_is_of_the_valid_pixels_of_each_block(tmp_path: Path, area: Window, size: int) -> None:
    pixels = np.random.default_rng(0).integers(1, 60_000, (2, 300, 70)).astype(np.uint16)
    pixels[:, 40:160, 20:66] = 0
    pixels[1, 200:205] = 0
    path = write_raster(tmp_path / "i.tif", pixels, nodata=0, tiled=True, blockxsize=64, blockysize=64)
    some = ThumbnailGrid.of(area, size)
    with opened(path, ("a", "b")) as raster:
        found = some.mean(raster)
    valid = (pixels != 0).all(0)
    for y, x in np.ndindex(some.shape):
        rows = slice(area.row + y * some.step, min(area.row + (y + 1) * some.step, area.bottom))
        cols = slice(area.col + x * some.step, min(area.col + (x + 1) * some.step, area.right))
        counted = pixels[:, rows, cols][:, valid[rows, cols]]
        expected = counted.mean(1) if counted.size else np.full(2, np.nan)
        np.testing.assert_allclose(found[:, y, x], expected)


@pytest.mark.parametrize(
    ("crs", "transform", "metres"),
    [
        ("EPSG:32633", NORTH_UP, 10 / 0.99996),  # UTM's scale 170 km west of its central meridian
        ("EPSG:3857", Affine(10, 0, 1.4e6, 0, -10, 6.9e6), 10 * math.cos(math.radians(52.535))),
        ("EPSG:4326", Affine(1e-4, 0, 12.5, 0, -1e-4, 60), 1e-4 * 111_320 * math.cos(math.radians(60))),
        ("EPSG:2263", Affine(1, 0, 980_000, 0, -1, 200_000), 0.3048),  # feet
    ],
)
def test_ground_width_is_in_metres_on_the_ground(crs: str, transform: Affine, metres: float) -> None:
    grid = Grid(CRS.from_user_input(crs), transform, (10, 10))
    assert ground_width(grid, grid.area) == pytest.approx(metres, rel=0.004)


def test_without_a_place_on_earth_there_is_no_ground_width() -> None:
    local = CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
    for crs in (None, local):
        grid = Grid(crs, Affine.identity(), (10, 10))
        assert ground_width(grid, grid.area) is None


def test_mean_of_a_series_is_of_the_valid_pixels_of_all_dates(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 60_000, (3, 2, 50, 40)).astype(np.uint16)
    pixels[0, :, 5:30, 8:] = pixels[1, 1, 12:14] = pixels[:, :, 20:28, 20:28] = 0
    write_dates(tmp_path, pixels)
    some = ThumbnailGrid.of(Window(3, 4, 41, 30), 9)
    with series(tmp_path / "{date}.tif").open("ba") as raster:
        found = some.mean(raster)
    known = (pixels > 0).all(1)
    for y, x in np.ndindex(some.shape):
        rows, cols = (slice(start + n * some.step, min(start + (n + 1) * some.step, stop)) for n, start, stop in (
            (y, 3, 44), (x, 4, 34)
        ))  # fmt: skip
        seen = known[:, rows, cols]
        for band, mean in zip((1, 0), found[:, y, x], strict=True):
            values = pixels[:, band, rows, cols][seen]
            np.testing.assert_allclose(mean, values.mean() if values.size else np.nan, rtol=1e-12)
