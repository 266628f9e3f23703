"""Vector data falls on the pixels that it covers, also at 180°, around the poles, and as large as the Earth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import Transformer
from rasterio.crs import CRS
from shapely.geometry import LineString, MultiPolygon, Point, box
from shapely.geometry.base import BaseGeometry

from quadrat.errors import LabelError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.vectors.burning import Areas
from quadrat.geo.vectors.features import on_grid
from quadrat.labels.objects import Envelopes
from quadrat.labels.vector import LabelledAreas, VectorLabels
from quadrat.scenes.aoi import open_aoi
from tests.ground import legend

LEGEND = legend(thing=["thing"], rest=["rest"])


def grid(crs: str, left: float, top: float, px: float, shape: tuple[int, int] = (24, 32)) -> Grid:
    return Grid(CRS.from_string(crs), Affine(px, 0, left, 0, -px, top), shape)


def at(crs: str, longitude: float, latitude: float, px: float) -> Grid:
    """Return a grid whose centre is there."""
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(longitude, latitude)
    return grid(crs, x - 16 * px, y + 12 * px, px)


def places(on: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return the longitudes and latitudes of the centres of all pixels."""
    rows, cols = np.indices(on.shape) + 0.5
    x, y = on.transform @ (cols, rows)
    return Transformer.from_crs(on.crs, "EPSG:4326", always_xy=True).transform(x, y)


def covered(area: BaseGeometry, on: Grid) -> np.ndarray:
    """Return which pixels' centres lie in an area of longitudes, modulo 360°, and latitudes."""
    longitudes, latitudes = places(on)
    turns = (shapely.contains_xy(area, longitudes + turn, latitudes) for turn in (-720, -360, 0, 360, 720))
    return np.logical_or.reduce(list(turns))


def drawn(on: Grid, areas: Sequence[BaseGeometry], crs: str = "EPSG:4326") -> np.ndarray:
    """Return which pixels areas in a CRS cover."""
    parts, _ = on_grid(geopandas.GeoDataFrame(geometry=list(areas), crs=crs), on, "l.gpkg", LabelError, "s")
    return Areas(parts, np.ones(len(parts), np.uint8)).draw(on.area, fill=0) == 1


def labels(
    path: Path, on: Grid, areas: Sequence[BaseGeometry], crs: str = "EPSG:4326", **options: Any
) -> LabelledAreas:
    geopandas.GeoDataFrame(geometry=list(areas), crs=crs).to_file(path)
    content = {"kind": "vector", "path": str(path), "default": "thing", "background": "rest", **options}
    with VectorLabels.model_validate(content, strict=False).open(on, LEGEND, "s") as opened:
        return opened


GRIDS = {
    "UTM": at("EPSG:32633", 15.2, 52.0, 500.0),
    "UTM in the south, over 180°": at("EPSG:32701", 180.0, -17.0, 500.0),
    "UTM in the north, over 180°": at("EPSG:32660", 179.95, 65.0, 500.0),
    "Web Mercator": at("EPSG:3857", 15.2, 52.0, 800.0),
    "Web Mercator over 180°": grid("EPSG:3857", 20_030_000.0, -1_900_000.0, 500.0),
    "Web Mercator beyond -180°": grid("EPSG:3857", -20_050_000.0, -1_900_000.0, 500.0),
    "Mercator with its seam at -30°": at("EPSG:3832", 179.99, -17.0, 500.0),
    "degrees": grid("EPSG:4326", 15.0, 52.1, 0.01),
    "degrees over 180°": grid("EPSG:4326", 179.84, -16.9, 0.01),
    "degrees beyond -180°": grid("EPSG:4326", -180.4, -16.9, 0.01),
    "degrees in 0…360": grid("EPSG:4326", 300.1, 10.0, 0.01),
    "degrees around the Earth": grid("EPSG:4326", -180.0, 90.0, 11.25, (16, 32)),
    "degrees around the Earth in 0…360": grid("EPSG:4326", 0.0, 90.0, 11.25, (16, 32)),
    "degrees of another datum, over 180°": grid("EPSG:4167", 179.84, -16.9, 0.01),
    "grads": grid("EPSG:4807", 14.0, 57.8, 0.01),
    "degrees beside the pole": grid("EPSG:4326", 40.0, 90.0, 0.01),
    "equal area": at("EPSG:3035", 15.2, 52.0, 500.0),
    "the north pole": grid("EPSG:3413", -16_100.0, 12_050.0, 1000.0),
    "the south pole": grid("EPSG:3031", -16_100.0, 12_050.0, 1000.0),
    "by the north pole, over 180°": at("EPSG:3413", 179.9, 88.0, 1000.0),
}


EARTH = box(-180, -90, 180, 90)
TURNS = (-360, 0, 360)


def turned(area: BaseGeometry, turn: float) -> BaseGeometry:
    return shapely.transform(area, lambda xy: xy + np.array([turn, 0]))


def on_earth(area: BaseGeometry) -> BaseGeometry:
    """Return an area cut at 180°."""
    return shapely.union_all([turned(area, turn).intersection(EARTH) for turn in TURNS])


def areas_of(on: Grid) -> dict[str, BaseGeometry]:
    """Return areas as large as the Earth, and as small as the grid, most with an edge on it."""
    longitudes, latitudes = places(on)
    x, y = float(longitudes[12, 16]), float(np.median(latitudes))
    wide = min(30.0, 2 * np.ptp(np.mod(longitudes - x + 180, 360)))
    high = np.ptp(latitudes) / 5.13
    west = x - 0.0317 * wide
    middle = box(west, max(-89.99, y - high), west + wide, min(89.99, y + high))
    piece = box(west, max(-90, y - 3 * high), west + wide, min(90, y + high))
    return {
        "all but a hole": EARTH.difference(on_earth(middle)),
        "nearly all but a hole": box(-179, -89.99, 179, 89.99).difference(on_earth(middle)),
        "all in 0…360 but a hole": box(0, -90, 360, 90).difference(
            shapely.union_all([turned(middle, t) for t in TURNS])
        ),
        "half the Earth": box(west, -90, west + 180, 90),
        "a belt": box(-180, y + 0.0317 * high, 180, 90),
        "a piece": piece,
        "a piece after a turn": turned(piece, 360),
        "a piece, cut at 180°": on_earth(piece),
    }


@pytest.mark.parametrize("name", GRIDS)
def test_areas_of_any_size_fall_on_the_pixels_that_they_cover(name: str) -> None:
    on = GRIDS[name]
    cases = {kind: (area, covered(area, on)) for kind, area in areas_of(on).items()}
    assert sum(bool(0 < expected.sum() < expected.size) for _, expected in cases.values()) >= 7
    for kind, (area, expected) in cases.items():
        found = drawn(on, [area])
        assert (found != expected).sum() <= 1, (kind, found.sum(), expected.sum())  # of centres on an edge


@pytest.mark.parametrize(
    ("crs", "name"),
    [
        (crs, name)
        for crs, names in {
            "EPSG:32701": ("degrees over 180°", "Web Mercator over 180°", "degrees around the Earth"),
            "EPSG:3857": ("degrees over 180°", "UTM in the south, over 180°", "Web Mercator over 180°"),
            "EPSG:3413": ("degrees beside the pole", "by the north pole, over 180°", "degrees around the Earth"),
            "EPSG:3031": ("the south pole", "degrees around the Earth in 0…360"),
        }.items()
        for name in names
    ],
)
def test_areas_in_any_crs_fall_on_the_pixels_that_they_cover(crs: str, name: str) -> None:
    """A disk whose middle is the grid's, and one around the CRS's own, where that is a pole."""
    on = GRIDS[name]
    there = Transformer.from_crs(on.crs, crs, always_xy=True)
    rows, cols = np.indices(on.shape) + 0.5
    x, y = there.transform(*(on.transform @ (cols, rows)))
    middle = there.transform(*(on.transform @ (19.3, 10.2)))
    disks = [Point(middle).buffer(0.3 * min(np.ptp(y), 4e6), 64)]
    if crs in {"EPSG:3413", "EPSG:3031"}:
        disks = [*disks, Point(0, 0).buffer(2.5e6, 64), box(-2e6, -2e6, 2e6, 2e6), box(-2.5e6, -2.5e6, 2e6, -1e5)]
    world = 2 * 20_037_508.342789244 if crs == "EPSG:3857" else 0
    found = [drawn(on, [disk], crs) for disk in disks]
    expected = [np.any([shapely.contains_xy(disk, x + turn, y) for turn in {-world, 0, world}], 0) for disk in disks]
    assert any(one.any() and not one.all() for one in expected)
    assert [(one != other).sum() <= 1 for one, other in zip(found, expected, strict=True)] == [True] * len(disks)


def test_an_aoi_of_all_but_a_hole(tmp_path: Path) -> None:
    on = GRIDS["UTM"]
    longitudes, _ = places(on)
    area = EARTH.difference(box(15.21, 50, 19, 55))
    geopandas.GeoDataFrame(geometry=[area], crs="EPSG:4326").to_file(tmp_path / "a.geojson")
    aoi = open_aoi([str(tmp_path / "a.geojson")], on, "s")
    assert aoi is not None
    np.testing.assert_array_equal(aoi.mask(on.area), longitudes < 15.21)
    assert (aoi.bounds.col, aoi.bounds.row, aoi.bounds.height) == (0, 0, on.shape[0])


def test_lines_and_points_at_180_degrees(tmp_path: Path) -> None:
    on = grid("EPSG:4326", 179.9, 0.1, 0.01, (20, 20))
    thin = [LineString([(-180.2, 0.055), (-179.951, 0.055)]), Point(179.999, -0.045), Point(-179.945, -0.045)]
    found = labels(tmp_path / "l.gpkg", on, thin, width={"unit": "px", "default": 3.0}, background="rest")
    rows, cols = np.indices(on.shape) + 0.5
    line = (np.abs(rows - 4.5) < 1.5) & (cols < 14.9)
    near = [np.hypot(cols - col, rows - 14.5) < 1.5 for col in (9.9, 15.5)]
    expected = np.logical_or.reduce([line | (np.hypot(cols - 14.9, rows - 4.5) < 1.5), *near])
    np.testing.assert_array_equal(found.class_ids(on.area, all_touched=False) == 0, expected)


def test_an_object_that_is_cut_at_180_degrees_is_one(tmp_path: Path) -> None:
    on = grid("EPSG:4326", 179.9, 0.1, 0.01, (20, 20))
    halves = MultiPolygon([box(179.96, 0, 180, 0.05), box(-180, 0, -179.93, 0.05)])
    far = box(-20, -10, 10, 10)
    found = labels(tmp_path / "l.gpkg", on, [far, halves, box(-179.92, -0.05, -179.72, 0)])
    boxes = Envelopes.around(found.objects(on.area), on.area)
    np.testing.assert_allclose(boxes.bounds, [[6, 5, 17, 10], [18, 10, 20, 15]], atol=1e-6)
    np.testing.assert_allclose(boxes.shares, [1, 0.1])


def test_an_object_is_whole_far_around_the_grid(tmp_path: Path) -> None:
    on = GRIDS["UTM"]
    found = labels(tmp_path / "l.gpkg", on, [box(15.2, 51.9, 18.2, 52.0)])
    (share,) = Envelopes.around(found.objects(on.area), on.area).shares
    left, top, right, bottom = found.objects(on.area).geometry[0].bounds
    assert right - left == pytest.approx(3 * 111_320 * np.cos(np.radians(51.95)) / 500, rel=0.01)
    assert share == pytest.approx((32 - left) * (min(bottom, 24) - top) / ((right - left) * (bottom - top)), rel=1e-3)


def test_labels_on_both_sides_of_180_degrees_may_leave_out_the_image(tmp_path: Path) -> None:
    on = grid("EPSG:4326", 179.9, 0.1, 0.01, (20, 20))
    beside = labels(tmp_path / "l.gpkg", on, [box(178, -1, 179, 1), box(-179, -1, -178, 1)])
    assert (beside.class_ids(on.area, all_touched=False) == 1).all()
    with pytest.raises(LabelError, match="no label lies on the image"):
        labels(tmp_path / "m.gpkg", on, [box(178, -1, 179, 1)])


def test_a_grid_of_a_little_more_than_all_longitudes_has_each_object_once(tmp_path: Path) -> None:
    on = Grid(CRS.from_epsg(4326), Affine(1.0000001, 0, -180.00001, 0, -1, 90), (180, 360))
    found = labels(tmp_path / "l.gpkg", on, [box(-180, 10, -170, 20), box(100, 10, 110, 20)])
    boxes = Envelopes.around(found.objects(on.area), on.area)
    np.testing.assert_allclose(boxes.bounds, [[0, 70, 10, 80], [280, 70, 290, 80]], atol=1e-3)
    assert (found.class_ids(on.area, all_touched=False) == 0).sum() == 200
