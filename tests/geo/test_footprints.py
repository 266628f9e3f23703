"""Footprints are in longitude and latitude wherever a grid lies, and cut at 180°."""

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import Transformer
from rasterio.crs import CRS
from shapely.geometry import Polygon, box

from quadrat.geo.geometry.footprints import on_earth
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window


def at(crs: str, longitude: float, latitude: float, px: float, size: int = 32) -> Grid:
    """Return a grid whose centre is there."""
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(longitude, latitude)
    return Grid(CRS.from_string(crs), Affine(px, 0, x - px * size / 2, 0, -px, y + px * size / 2), (size, size))


def test_a_footprint_is_the_corners_in_degrees() -> None:
    grid = at("EPSG:32633", 15.2, 52.0, 10.0)
    windows = np.array([[0, 0, 32, 32], [3, 4, 5, 6]])
    found = on_earth(grid.footprints(windows), grid.crs)
    into = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    for shape, (row, col, height, width) in zip(found, windows, strict=True):
        corners = [(col, row), (col + width, row), (col + width, row + height), (col, row + height)]
        expected = Polygon([into.transform(*(grid.transform @ corner)) for corner in corners])
        assert shapely.equals_exact(shape, expected)


@pytest.mark.parametrize(
    ("crs", "longitude", "latitude", "px"),
    [
        ("EPSG:32701", 180.0, -17.0, 500.0),
        ("EPSG:32660", 179.98, 65.0, 500.0),
        ("EPSG:3857", 179.99, 40.0, 500.0),
        ("EPSG:3832", 180.0, 40.0, 500.0),
        ("EPSG:4326", 180.01, 10.0, 0.01),
        ("EPSG:4326", -180.01, 10.0, 0.01),
        ("EPSG:4167", 180.01, -20.0, 0.01),
        ("EPSG:4326", 300.0, 10.0, 0.01),
        ("EPSG:3413", 180.0, 80.0, 1000.0),
        ("EPSG:3413", 0.0, 90.0, 1000.0),
        ("EPSG:3413", 100.0, 89.95, 1000.0),
        ("EPSG:3031", 0.0, -90.0, 1000.0),
        ("EPSG:32633", 15.0, 52.0, 500.0),
    ],
)
def test_a_footprint_holds_the_grid_and_nothing_else(crs: str, longitude: float, latitude: float, px: float) -> None:
    grid = at(crs, longitude, latitude, px)
    (found,) = on_earth(grid.footprints(np.array([[0, 0, 32, 32]])), crs)
    assert found.is_valid
    assert box(-180, -90, 180, 90).covers(found)
    rows, cols = np.mgrid[-8:40:0.5, -8:40:0.5] + 0.26
    x, y = grid.transform @ (cols, rows)
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    lon = (lon + 180) % 360 - 180
    inside = (rows > 0) & (rows < 32) & (cols > 0) & (cols < 32)
    near = np.minimum(np.abs(rows - np.clip(rows, 0, 32)) + 0.1, 9)  # corners alone are exact where edges bend
    wrong = shapely.contains_xy(found, lon, lat) != inside
    assert wrong[near > 1].sum() == 0
    assert wrong.mean() < 0.01


def test_many_footprints_of_which_few_reach_over_180_degrees() -> None:
    grid = at("EPSG:32701", 180.0, -17.0, 500.0)
    windows = np.array([[row, col, 8, 8] for row in range(0, 32, 8) for col in range(0, 32, 8)])
    found = on_earth(grid.footprints(windows), grid.crs)
    alone = [on_earth(np.array([grid.footprint(Window(*window))]), grid.crs)[0] for window in windows.tolist()]
    assert max(a.symmetric_difference(b).area for a, b in zip(found, alone, strict=True)) < 1e-9
    assert max(part.bounds[2] - part.bounds[0] for shape in found for part in shapely.get_parts(shape)) < 0.05
