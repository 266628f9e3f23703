"""Sizes on the ground, whatever the CRS: against geodesics of pyproj."""

import math

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS as Crs
from pyproj import Geod, Transformer
from rasterio.crs import CRS

from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from tests.ground import NORTH_UP, UTM

ROTATED = (  # as of regional climate models
    'GEOGCRS["rotated",BASEGEOGCRS["WGS 84",DATUM["World Geodetic System 1984",'
    'ELLIPSOID["WGS 84",6378137,298.257223563]]],DERIVINGCONVERSION["Pole",METHOD["PROJ ob_tran o_proj=longlat"],'
    + ",".join(f'PARAMETER["{k}",{v},ANGLEUNIT["degree",0.0174532925199433]]' for k, v in
               {"o_lon_p": -162, "o_lat_p": 39.25, "lon_0": 180}.items())
    + '],CS[ellipsoidal,2],AXIS["longitude",east],AXIS["latitude",north],UNIT["degree",0.0174532925199433]]'
)  # fmt: skip

PLACES = {
    "UTM": (UTM, NORTH_UP),
    "Web Mercator at the equator": ("EPSG:3857", Affine(10, 0, 1.4e6, 0, -10, 500)),
    "Web Mercator at 45°": ("EPSG:3857", Affine(10, 0, 1.4e6, 0, -10, 5_621_521)),
    "Web Mercator at 60°": ("EPSG:3857", Affine(0.1, 0, 1.4e6, 0, -0.1, 8_399_737)),
    "Web Mercator beyond 180°": ("EPSG:3857", Affine(10, 0, 20_037_500, 0, -10, 8_399_737)),
    "degrees": ("EPSG:4326", Affine(1e-4, 0, 15, 0, -5e-5, 60)),
    "degrees beyond 180°": ("EPSG:4326", Affine(0.01, 0, 179.9, 0, -0.01, -45)),
    "grads, from Paris": ("EPSG:4807", Affine(1e-3, 0, 5, 0, -1e-3, 50)),
    "a projection of grads": ("EPSG:27572", Affine(30, 0, 600_000, 0, -30, 2_300_000)),
    "rotated pole": (ROTATED, Affine(0.1, 0, 5, 0, -0.1, 5)),
    "north polar stereographic": ("EPSG:3413", Affine(25, 0, 1.2e6, 0, -25, -1.5e6)),
    "on the north pole": ("EPSG:3413", Affine(25, 0, -50, 0, -25, 50)),
    "south polar stereographic": ("EPSG:3031", Affine(25, 0, -1.9e6, 0, -25, 1.1e6)),
    "US survey feet": ("EPSG:2263", Affine(1, 0, 980_000, 0, -1, 200_000)),
    "Albers, turned": ("EPSG:5070", Affine.translation(1e6, 1.5e6) @ Affine.rotation(30) @ Affine.scale(30, -20)),
    "Lambert, of 1 cm": ("EPSG:2154", Affine(0.01, 0, 6e5, 0, -0.01, 6.6e6)),
    "with heights": ("EPSG:7405", Affine(1, 0, 400_000, 0, -1, 300_000)),
    "seen from space": ("+proj=geos +h=35786023 +lon_0=-75 +sweep=x", Affine(2000, 0, 1e6, 0, -2000, 2e6)),
}


def grid_at(place: str) -> Grid:
    crs, transform = PLACES[place]
    return Grid(CRS.from_user_input(crs), transform, (4, 4))


def on_ellipsoid(grid: Grid, points: np.ndarray) -> tuple[np.ndarray, Geod]:
    """Return longitudes and latitudes (2, point) in degrees of points (point, 2), column and row; and the ellipsoid."""
    own = Crs.from_user_input(grid.crs)
    geodetic = own.geodetic_crs.source_crs or own.geodetic_crs
    found = Transformer.from_crs(own, geodetic, always_xy=True).transform(*(grid.transform @ points.T))
    return np.degrees(np.array(found) * geodetic.axis_info[0].unit_conversion_factor), geodetic.get_geod()


def geodesics(grid: Grid, place: tuple[float, float]) -> np.ndarray:
    """Return metres to the east and to the north per column and per row, by geodesics across the pixel at a place."""
    cross = np.array([(0, 0), (0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)]) + place
    (longitudes, latitudes), geod = on_ellipsoid(grid, cross)
    azimuths, _, metres = geod.inv(longitudes[[0] * 4], latitudes[[0] * 4], longitudes[1:], latitudes[1:])
    steps = metres * [np.sin(np.radians(azimuths)), np.cos(np.radians(azimuths))]
    return steps[:, ::2] - steps[:, 1::2]


@pytest.mark.parametrize("name", PLACES)
def test_metres_are_those_of_geodesics_on_the_ground(name: str) -> None:
    grid = grid_at(name)
    places = [(0.0, 0.0), (2.5, 1.5), (-70.0, 90.0)]
    expected = np.array([geodesics(grid, place) for place in places])
    tolerance = 2e-6 * np.abs(expected).max()
    np.testing.assert_allclose(grid.metres(np.array(places)), expected, rtol=0, atol=tolerance)
    sizes = np.abs(np.linalg.det(expected))
    np.testing.assert_allclose(grid.pixel_areas(np.array(places)), sizes, rtol=1e-5)
    assert grid.gsd == pytest.approx(math.sqrt(abs(np.linalg.det(geodesics(grid, (2, 2))))), rel=1e-6)


@pytest.mark.parametrize("name", [name for name in PLACES if "1 cm" not in name])  # too small for the oracle
def test_the_gsd_is_the_root_of_what_a_pixel_covers_of_the_ellipsoid(name: str) -> None:
    grid = grid_at(name)
    outline = np.array(shapely.box(1.5, 1.5, 2.5, 2.5).segmentize(0.1).exterior.coords)
    points, geod = on_ellipsoid(grid, outline)
    size, _ = geod.polygon_area_perimeter(*points)
    assert grid.gsd**2 == pytest.approx(abs(size), rel=3e-5)  # areas of geodesics are right to 0.1 m²


def test_the_gsd_in_web_mercator_is_half_of_the_map_s_at_60_degrees() -> None:
    globe = Geod(ellps="WGS84")
    _, _, east = globe.inv(12, 60, 12.0001, 60)
    left, _ = Transformer.from_crs(4326, 3857, always_xy=True).transform(12, 60)
    right, _ = Transformer.from_crs(4326, 3857, always_xy=True).transform(12.0001, 60)
    (metres,) = grid_at("Web Mercator at 60°").metres(np.array([[0, 0]]))
    assert np.hypot(*metres[:, 0]) / 0.1 == pytest.approx(east / (right - left), rel=1e-5)
    assert grid_at("Web Mercator at 60°").gsd == pytest.approx(0.05, rel=0.003)


def test_the_gsd_is_that_of_the_part_that_counts() -> None:
    country = Grid(CRS.from_epsg(3857), Affine(100, 0, 1e6, 0, -100, 1.2e7), (60_000, 100))
    top, bottom = Window(0, 0, 100, 100), Window(59_900, 0, 100, 100)
    assert country.gsd_of(top) == pytest.approx(100 * math.cos(math.radians(72.62)), rel=0.005)
    assert country.gsd_of(bottom) == pytest.approx(100 * math.cos(math.radians(47.34)), rel=0.005)
    assert country.gsd == country.gsd_of(country.area)


def test_what_is_not_on_earth_has_no_ground_but_a_plane() -> None:
    corner = Grid(
        CRS.from_string("+proj=geos +h=35786023 +lon_0=-75"), Affine(2000, 0, -5.5e6, 0, -2000, 5.5e6), (9, 9)
    )
    assert corner.on_earth
    assert np.isnan(corner.metres(np.array([[1, 1]]))).all()
    assert corner.gsd == pytest.approx(2000)
    feet = Grid(CRS.from_wkt('LOCAL_CS["mine",UNIT["foot",0.3048]]'), Affine(10, 0, 0, 0, -10, 0), (9, 9))
    assert not feet.on_earth
    assert feet.gsd == pytest.approx(3.048)
    np.testing.assert_allclose(feet.metres(np.zeros((2, 2))), [[[3.048, 0], [0, -3.048]]] * 2)
    photo = Grid(None, Affine.scale(3), (9, 9))
    assert not photo.on_earth
    assert photo.gsd == 1
