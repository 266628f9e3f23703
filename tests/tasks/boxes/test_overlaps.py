"""Scenes of different splits that share ground are found in any CRS, over 180° and around the poles, and no others."""

from typing import Any

import numpy as np
import pytest
from affine import Affine
from pyproj import Transformer
from rasterio.crs import CRS

from quadrat.errors import OverlapError
from quadrat.geo.grids.grid import Grid
from quadrat.preflight.label_survey import LabelSurvey
from quadrat.preflight.problems import _overlaps
from quadrat.preflight.survey import Survey, _ground
from quadrat.scenes.scene import Scene
from tests.ground import image

Place = tuple[str | None, float, float, float]


def surveyed(split: Any, place: Place, path: str = "image.tif") -> Survey:
    """Return a survey of an image of 64 × 64 px whose upper left corner is there (in degrees where it has a CRS)."""
    crs, x, y, px = place
    if crs is not None and crs != "EPSG:4326":
        x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(x, y)
    grid = Grid(crs and CRS.from_string(crs), Affine(px, 0, x, 0, -px, y), (64, 64))
    scene = Scene(split, split, image(path), (), ())
    return Survey(scene, grid, grid.area, (), _ground(grid, None), LabelSurvey.nothing(1, hidden=False), (), ())


PAIRS: dict[str, tuple[Place, Place]] = {
    "one and the same": (("EPSG:32633", 15, 52, 10), ("EPSG:32633", 15, 52, 10)),
    "UTM of two zones": (("EPSG:32633", 15, 52, 10), ("EPSG:32632", 15, 52, 10)),
    "with heights": (("EPSG:32633", 15, 52, 10), ("EPSG:32633+3855", 15, 52, 10)),
    "degrees after a turn": (("EPSG:4326", 180.1, 10, 1e-3), ("EPSG:4326", -179.88, 10, 1e-3)),
    "degrees in 0…360": (("EPSG:4326", -60, 10, 1e-3), ("EPSG:4326", 300.032, 10, 1e-3)),
    "UTM of zones 60 and 1": (("EPSG:32760", 179.98, -17, 50), ("EPSG:32701", 179.98, -17, 50)),
    "UTM over 180° and degrees": (("EPSG:32701", 179.99, -17, 50), ("EPSG:4326", -180, -17, 5e-4)),
    "Web Mercator over 180° and degrees": (("EPSG:3857", 179.999, 10, 10), ("EPSG:4326", -180, 10.01, 1e-3)),
    "the pole and degrees": (("EPSG:3413", 180, 89.594, 1000), ("EPSG:4326", 10, 89.95, 0.01)),
    "both poles' CRSs at the equator": (("EPSG:3413", 20, 0, 1000), ("EPSG:3031", 20, 0, 1000)),
    "all longitudes and UTM over 180°": (("EPSG:4326", -180, 90, 5.625), ("EPSG:32701", 179.9, -17, 20_000)),
    "Alaska and Fiji": (("EPSG:32660", 179.9, 65, 50), ("EPSG:32701", 179.9, -17, 50)),
    "degrees beside a scene over 180°": (("EPSG:4326", 10, -17, 5e-4), ("EPSG:32701", 179.99, -17, 50)),
    "two in a row, of degrees": (("EPSG:4326", 180.1, 10, 1e-3), ("EPSG:4326", -179.836, 10, 1e-3)),
}


def shared(one: Survey, other: Survey) -> float:
    """Return how many px of one lie on the other: of 4 × 4 points in each, modulo 360°."""
    rows, cols = (np.indices((256, 256)) + 0.5) / 4
    x, y = one.grid.transform @ (cols, rows)
    points = Transformer.from_crs(one.grid.crs, "EPSG:4326", always_xy=True).transform(x, y)
    inside = np.zeros(rows.shape, bool)
    for turn in (-360, 0, 360):
        x, y = points[0] + turn, points[1]
        if not other.grid.crs.is_geographic:
            x, y = Transformer.from_crs("EPSG:4326", other.grid.crs, always_xy=True).transform(x, y)
            x = x + (turn / 360 * 2 * 20_037_508.342789244 if other.grid.crs.to_epsg() == 3857 else 0)
        known = np.isfinite(x) & np.isfinite(y)
        cols, rows = ~other.grid.transform @ (np.where(known, x, 1e30), np.where(known, y, 1e30))
        inside |= (cols > 0) & (cols < 64) & (rows > 0) & (rows < 64)
    return float(inside.sum() / 16)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", PAIRS)
def test_scenes_share_ground_where_their_pixels_do(name: str, turned: bool) -> None:
    places = PAIRS[name][:: -1 if turned else 1]
    one, other = surveyed("train", places[0]), surveyed("test", places[1])
    expected = shared(one, other)
    found = [float(str(error.got).split()[0]) for error in _overlaps([one, other])]
    assert found == (pytest.approx([expected], rel=0.01, abs=2) if expected >= 1 else [])


def test_scenes_of_one_split_and_other_images_without_a_place_share_nothing() -> None:
    here: Place = ("EPSG:32633", 15, 52, 10)
    photo: Place = (None, 0, 0, 1)
    assert not list(_overlaps([surveyed("train", here), surveyed("train", here)]))
    assert not list(_overlaps([surveyed("train", photo, "a.tif"), surveyed("test", photo, "b.tif")]))
    assert not list(_overlaps([surveyed("train", photo), surveyed("test", here)]))
    (error,) = _overlaps([surveyed("train", photo), surveyed("test", photo)])
    assert isinstance(error, OverlapError)


@pytest.mark.parametrize("coarse", [("EPSG:3413", 180, 89.594, 1000), ("EPSG:32633", 15, 52, 1000)])
def test_a_scene_within_a_pixel_of_a_coarser_one(coarse: Place) -> None:
    fine: Place = ("EPSG:4326", 10.0, 89.95, 1e-3) if coarse[0] == "EPSG:3413" else ("EPSG:32633", 15.01, 51.99, 1)
    (error,) = _overlaps([surveyed("train", coarse), surveyed("test", fine)])
    assert str(error.got).startswith("100% of test")
    (error,) = _overlaps([surveyed("train", fine), surveyed("test", coarse)])
    assert str(error.got).startswith("4096 px of train")
