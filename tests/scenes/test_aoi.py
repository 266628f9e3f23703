"""AOIs cover the pixels whose centres they hold, in any CRS, and one that leaves nothing is an error."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.features import rasterize
from shapely.geometry import MultiPolygon, Point, Polygon, box

from quadrat.errors import AOIError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.scenes.aoi import AOI, open_aoi
from tests.ground import NORTH_UP, UTM, pixel_box, write_areas

GRID = Grid(CRS.from_string(UTM), NORTH_UP, (40, 50))


def opened(*paths: Path) -> AOI:
    found = open_aoi([str(path) for path in paths], GRID, "s")
    assert found is not None
    return found


def test_an_aoi_with_a_hole_and_its_bounds(tmp_path: Path) -> None:
    ring = pixel_box(5, 6, 25, 27).difference(pixel_box(10, 10, 15, 15))
    aoi = opened(write_areas(tmp_path / "a.geojson", [ring], to_crs="EPSG:4326"))
    mask = aoi.mask(GRID.area)
    expected = np.zeros(GRID.shape, bool)
    expected[6:27, 5:25] = True
    expected[10:15, 10:15] = False
    np.testing.assert_array_equal(mask, expected)
    assert aoi.bounds == Window(6, 5, 21, 20)


@given(st.tuples(*[st.floats(0, 30)] * 4), st.sampled_from([None, "EPSG:4326"]))
def test_the_bounds_are_those_of_the_pixels_inside(edges: tuple[float, ...], to_crs: str | None) -> None:
    left, top, width, height = edges
    with TemporaryDirectory() as folder:
        area = pixel_box(left, top, left + width + 1.01, top + height + 1.01)
        aoi = opened(write_areas(Path(folder) / "a.gpkg", [area], to_crs=to_crs))
    rows, cols = np.nonzero(aoi.mask(GRID.area))
    own = Window(rows.min(), cols.min(), np.ptp(rows) + 1, np.ptp(cols) + 1)
    assert own.intersection(aoi.bounds) == own
    for inner, outer in ((own.row, aoi.bounds.row), (own.col, aoi.bounds.col)):
        assert inner - outer <= (abs((left % 1) - 0.5) < 1e-6 or abs((top % 1) - 0.5) < 1e-6)


def test_a_one_pixel_aoi(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "a.gpkg", [pixel_box(7, 9, 8, 10)])
    aoi = opened(path)
    assert aoi.mask(GRID.area).sum() == 1
    assert aoi.mask(GRID.area)[9, 7]


@pytest.mark.parametrize(
    "area",
    [pixel_box(200, 200, 300, 300), pixel_box(3.6, 3.6, 3.9, 3.9), Point(330_050, 5_822_000)],
    ids=["elsewhere", "between pixel centres", "a point"],
)
def test_an_aoi_that_leaves_nothing(tmp_path: Path, area: Polygon) -> None:
    path = write_areas(tmp_path / "a.gpkg", [area])
    with pytest.raises(AOIError, match="covers no pixel"):
        opened(path)


def test_several_files_count_together(tmp_path: Path) -> None:
    ring = pixel_box(5, 6, 25, 27).difference(pixel_box(10, 10, 15, 15))
    areas = [ring, pixel_box(12, 12, 40, 14), pixel_box(30, 20, 70, 90)]
    crss = ["EPSG:4326", None, "EPSG:3035"]
    paths = [
        write_areas(tmp_path / f"{number}.gpkg", [area], to_crs=crs)
        for number, (area, crs) in enumerate(zip(areas, crss, strict=True))
    ]
    aoi = opened(*paths)
    expected = rasterize(areas, GRID.shape, transform=NORTH_UP) > 0
    np.testing.assert_array_equal(aoi.mask(GRID.area), expected)
    assert aoi.bounds.intersection(GRID.area) == aoi.bounds
    window = Window(11, 3, 20, 44)
    np.testing.assert_array_equal(aoi.mask(window), expected[window.slices()])


def test_no_file_is_no_aoi() -> None:
    assert open_aoi([], GRID, "s") is None


def test_each_of_several_files_must_leave_something(tmp_path: Path) -> None:
    here = write_areas(tmp_path / "here.gpkg", [pixel_box(5, 6, 25, 27)])
    there = write_areas(tmp_path / "there.gpkg", [pixel_box(500, 6, 525, 27)])
    with pytest.raises(AOIError, match=r"covers no pixel(.|\n)*there\.gpkg"):
        opened(here, there)


def test_an_aoi_that_also_touches_the_image_from_outside(tmp_path: Path) -> None:
    two = MultiPolygon([pixel_box(10, 10, 20, 20), pixel_box(-10, 0, 0, 40)])
    aoi = opened(write_areas(tmp_path / "a.gpkg", [two]))
    assert aoi.bounds == Window(10, 10, 10, 10)
    assert aoi.mask(GRID.area).sum() == 100


def test_a_table_without_geometries(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("kind,x\nlake,1\n")
    with pytest.raises(AOIError, match="without geometries"):
        opened(tmp_path / "a.csv")


def test_long_edges_bend_with_the_crs(tmp_path: Path) -> None:
    """A rectangle of longitude and latitude, of four corners, has bent edges in UTM: by up to 70 px of these."""
    grid = Grid(CRS.from_string(UTM), Affine(100.0, 0.0, 200_000.0, 0.0, -100.0, 5_900_000.0), (1500, 1800))
    path = write_areas(tmp_path / "a.gpkg", [box(11.2, 52.1, 12.9, 53.0)], crs="EPSG:4326")
    found = open_aoi([str(path)], grid, "s")
    assert found is not None
    rows, cols = np.indices(grid.shape) + 0.5
    to_degrees = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(200_000 + 100 * cols, 5_900_000 - 100 * rows)
    expected = (lon > 11.2) & (lon < 12.9) & (lat > 52.1) & (lat < 53.0)
    assert (found.mask(grid.area) != expected).sum() <= 4
