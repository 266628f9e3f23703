"""Images whose longitudes go beyond 180°."""

from pathlib import Path

import morecantile
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from starlette.testclient import TestClient

from quadrat.geo.grids.grid import Grid
from quadrat.server.view.workspace import bounds_of
from tests.server.conftest import serving
from tests.server.test_maps import picture

WEB = morecantile.tms.get("WebMercatorQuad")


@pytest.fixture(params=[179.99, 270.0])
def beyond(request: pytest.FixtureRequest, project: Path, tmp_path: Path) -> tuple[Path, float]:
    """Return an image of 200 × 120 px of 0.0001°, and its west."""
    with rasterio.open(project / "image.tif") as file:
        pixels, profile = file.read(), file.profile
    west = request.param
    profile |= {"crs": "EPSG:4326", "transform": Affine(0.0001, 0, west, 0, -0.0001, 0.006)}
    with rasterio.open(tmp_path / "beyond.tif", "w", **profile) as file:
        file.write(pixels)
        file.descriptions, file.scales = ("B1", "B2", "B3"), [0.0001] * 3
    return tmp_path / "beyond.tif", west


def place(client: TestClient, longitude: float) -> list[int]:
    found: list[int] = client.get(f"/point/{longitude},0.00005").json()["pixel"]
    return found


def test_they_are_shown_on_both_sides(project: Path, beyond: tuple[Path, float], tmp_path: Path) -> None:
    path, west = beyond
    with serving(project, tmp_path / "cache", path) as client:
        bounds = client.get("/images").json()["images"][0]["bounds"]
        expected = west if west < 180 else west - 360
        np.testing.assert_allclose(bounds, [expected, -0.006, expected + 0.02, 0.006], atol=1e-9)
        last = west + 0.01995 - 360
        assert place(client, last) == place(client, last + 360) == [59, 199]
        shown = client.get("/preview?layer=labels")
        assert shown.status_code == 200
        left, right = (WEB.tile(longitude, 0.003, 15) for longitude in (west + 0.0001 - 360 * (west > 180), last))
        for tile in (left, right):
            assert picture(client, f"/tiles/WebMercatorQuad/15/{tile.x}/{tile.y}.png")[..., 3].any()
        told = client.get("/tilejson.json").json()["bounds"]
        assert -180 <= told[0] < told[2] <= 180


def test_a_run_across_the_date_line_is_in_one_piece() -> None:
    grid = Grid(CRS.from_epsg(32601), Affine(100, 0, 260_000, 0, -100, 5_822_040), (600, 700))
    found = bounds_of(grid, grid.area)
    np.testing.assert_allclose(found, (179.46, 51.95, 180.53, 52.53), atol=0.01)
