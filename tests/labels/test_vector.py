"""Vector labels fall on the pixels that they cover, in any CRS, and are never lost without a word."""

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.features import rasterize
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Point, Polygon, box

from quadrat.errors import LabelError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window, whole
from quadrat.geo.vectors.widths import widened
from quadrat.labels.vector import LabelledAreas, VectorLabels
from quadrat.tasks import SemanticSegmentation
from tests.ground import NORTH_UP, UTM, legend, pixel_box, write_areas

GRID = Grid(CRS.from_string(UTM), NORTH_UP, (40, 50))
LEGEND = legend(wood=["wood", "forest"], lake=["lake"])


def labels(path: Path, grid: Grid = GRID, key: SemanticSegmentation = LEGEND, **options: Any) -> LabelledAreas:
    content = {"kind": "vector", "path": str(path), **({} if "default" in options else {"field": "kind"}), **options}
    with VectorLabels.model_validate(content, strict=False).open(grid, key, "s") as opened:
        return opened


@pytest.mark.parametrize("to_crs", [None, "EPSG:4326", "EPSG:32632", "EPSG:3035"])
@pytest.mark.parametrize("ending", ["gpkg", "geojson", "fgb", "shp"])
def test_labels_in_another_crs_fall_on_the_same_pixels(tmp_path: Path, to_crs: str | None, ending: str) -> None:
    if ending == "geojson" and to_crs is None:
        to_crs = "EPSG:4326"
    areas = [pixel_box(3, 5, 20, 30), pixel_box(20 if ending == "fgb" else 15, 10, 45, 38)]  # fgb keeps no order
    path = write_areas(tmp_path / f"l.{ending}", areas, {"kind": ["forest", "lake"]}, to_crs=to_crs)
    opened = labels(path)
    expected = rasterize([(areas[0], 0), (areas[1], 1)], GRID.shape, fill=255, transform=NORTH_UP, dtype="uint8")
    np.testing.assert_array_equal(opened.class_ids(GRID.area, all_touched=False), expected)


@pytest.mark.parametrize(
    ("ending", "kinds", "left", "pairs"),
    [
        ("fgb", ["forest", "lake"], 15, 1),
        ("fgb", ["forest", "lake"], 20, 0),  # they only touch
        ("fgb", ["forest", "wood"], 15, 0),
        ("gpkg", ["forest", "lake"], 15, 0),
    ],
)
def test_overlaps_in_a_file_that_keeps_no_order_are_told(
    tmp_path: Path, ending: str, kinds: list[str], left: int, pairs: int
) -> None:
    areas = [pixel_box(3, 5, 20, 30), pixel_box(left, 10, 45, 38)]
    told = labels(write_areas(tmp_path / f"l.{ending}", areas, {"kind": kinds})).remarks
    assert len(told) == pairs
    assert all("1 pairs of features of different classes overlap" in each for each in told)


@pytest.mark.parametrize(
    "transform",
    [
        Affine(2.0, 0.0, 400_000.0, 0.0, 2.0, 5_000_000.0),  # south-up
        Affine.translation(400_000, 5_000_000) @ Affine.rotation(30) @ Affine.scale(2.0, -2.0),
    ],
)
def test_south_up_and_rotated_grids(tmp_path: Path, transform: Affine) -> None:
    grid = Grid(CRS.from_string(UTM), transform, (30, 30))
    corners = [(4, 6), (22, 6), (22, 19), (4, 19)]
    path = write_areas(tmp_path / "l.gpkg", [Polygon([transform @ c for c in corners])], {"kind": ["lake"]})
    expected = np.full((30, 30), 255)
    expected[6:19, 4:22] = 1
    np.testing.assert_array_equal(labels(path, grid).class_ids(whole((30, 30)), all_touched=False), expected)


@given(st.data())
def test_any_window_shows_the_part_of_the_whole(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 20)))
    areas = [
        Polygon(generator.uniform((-5, -5), (55, 45), (3, 2)) @ np.diag([10, -10]) + (330_000, 5_822_040))
        for _ in range(12)
    ]
    kinds = generator.choice(["wood", "lake"], 12).tolist()
    path = write_areas(tmp_path_factory.mktemp("labels") / "l.gpkg", areas, {"kind": kinds})
    opened = labels(path)
    shapes = [(a, LEGEND.aliases[k]) for a, k in zip(areas, kinds, strict=True)]
    expected = np.full((100, 110), 255)
    touched = data.draw(st.booleans())
    expected[30:70, 30:80] = rasterize(
        shapes, GRID.shape, fill=255, transform=NORTH_UP, dtype="uint8", all_touched=touched
    )
    row, col = data.draw(st.integers(0, 35)), data.draw(st.integers(0, 45))
    window = Window(row, col, data.draw(st.integers(1, 40 - row)), data.draw(st.integers(1, 50 - col)))
    found = opened.class_ids(window, all_touched=touched)
    np.testing.assert_array_equal(found, expected[row + 30 : window.bottom + 30, col + 30 : window.right + 30])


def test_values_that_no_class_claims_are_listed_with_counts(tmp_path: Path) -> None:
    areas = [pixel_box(n, n, n + 3, n + 3) for n in range(4)]
    path = write_areas(tmp_path / "l.gpkg", areas, {"kind": ["wood", "moor", "moor", None]})
    with pytest.raises(LabelError, match=r"no class lists(.|\n)*moor \(2 features\), null \(1 features\)"):
        labels(path)
    dropped = labels(path, drop=("moor", "null"))
    assert sorted(dropped.areas.values) == [0, 255, 255, 255]


def test_numeric_values_are_named_as_whole_numbers(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "l.gpkg", [pixel_box(0, 0, 5, 5)] * 2, {"kind": [3.0, 4.0]})
    assert labels(path, key=legend(a=["3"], b=["4"])).areas.values.tolist() == [0, 1]


@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize("read", ["NFC", "NFD"])
def test_accents_are_the_same_in_either_form_of_unicode(tmp_path: Path, written: str, read: str) -> None:
    forest, lake, moor = (unicodedata.normalize(written, name) for name in ("forêt", "étang", "marécage"))
    areas = [pixel_box(n, n, n + 3, n + 3) for n in range(0, 40, 10)]
    path = write_areas(tmp_path / "l.gpkg", areas, {"kind": [forest, lake, moor, moor]})
    forest, lake, moor = (unicodedata.normalize(read, name) for name in ("forêt", "étang", "marécage"))
    key = legend(**{forest: [forest], lake: [lake]})
    assert labels(path, key=key, drop=[moor]).areas.values.tolist() == [255, 255, 0, 1]
    assert labels(path, key=key, filter=f"kind != '{moor}'", background=lake).areas.values.tolist() == [0, 1]
    points = write_areas(tmp_path / "p.gpkg", [Point(330_050, 5_822_000)], {"kind": [1]})
    width = {"unit": "px", "classes": {lake: 3.0}}
    assert labels(points, key=key, default=lake, width=width).areas.values.tolist() == [1]


def test_labels_that_miss_the_image(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "l.gpkg", [pixel_box(500, 500, 600, 600)], {"kind": ["lake"]})
    with pytest.raises(LabelError, match=r"no label lies on the image(.|\n)*CRS"):
        labels(path)


def test_a_field_a_layer_and_a_file_that_are_not_there(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "l.gpkg", [pixel_box(0, 0, 9, 9)], {"type": ["lake"]})
    with pytest.raises(LabelError, match=r"no such field(.|\n)*expected: kind(.|\n)*got: type"):
        labels(path)
    with pytest.raises(LabelError, match="can't be read"):
        labels(path, layer="none")
    with pytest.raises(LabelError, match="missing"):
        labels(tmp_path / "none.gpkg")
    (tmp_path / "bad.gpkg").write_bytes(b"not a database")
    with pytest.raises(LabelError, match="can't be read"):
        labels(tmp_path / "bad.gpkg")


def test_one_with_and_one_without_a_crs_is_an_error(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "l.gpkg", [box(0, 0, 9, 9)], {"kind": ["lake"]}, crs=None)
    with pytest.raises(LabelError, match=r"must both have a CRS(.|\n)*got: no CRS"):
        labels(path)
    bare = Grid(None, Affine.identity(), (12, 12))
    opened = labels(path, bare)  # pixel coordinates
    expected = np.full((12, 12), 255)
    expected[:9, :9] = 1
    np.testing.assert_array_equal(opened.class_ids(bare.area, all_touched=False), expected)


def test_self_crossing_polygons_keep_their_area(tmp_path: Path) -> None:
    bow = Polygon([NORTH_UP @ c for c in [(0, 0), (20, 20), (20, 0), (0, 20)]])
    opened = labels(write_areas(tmp_path / "l.gpkg", [bow], {"kind": ["lake"]}))
    assert (opened.class_ids(GRID.area, all_touched=False) == 1).sum() == pytest.approx(200, abs=25)


def test_features_without_geometry_are_named(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "l.gpkg", [pixel_box(0, 0, 9, 9), None], {"kind": ["lake", "lake"]})
    with pytest.raises(LabelError, match=r"without geometry(.|\n)*1 of 2"):
        labels(path)


def test_holes_are_unlabelled(tmp_path: Path) -> None:
    ring = pixel_box(5, 5, 25, 25).difference(pixel_box(10, 10, 15, 15))
    path = write_areas(tmp_path / "l.gpkg", [ring], {"kind": ["lake"]})
    found = labels(path).class_ids(GRID.area, all_touched=False)
    assert (found[10:15, 10:15] == 255).all()
    assert (found == 1).sum() == 400 - 25


def centres(grid: Grid) -> np.ndarray:
    """Return the centre (x, y) of each pixel on the map, row by row."""
    rows, cols = np.indices(grid.shape) + 0.5
    return np.column_stack(grid.transform @ (cols.ravel(), rows.ravel()))


def check_distances(found: np.ndarray, distance: np.ndarray, width: float) -> None:
    """Hold labels against the distance of each pixel's centre, but for those on the edge: a circle has corners."""
    sure = np.abs(distance / (width / 2) - 1) > 0.004
    assert (distance < width / 2).any()
    np.testing.assert_array_equal((found.ravel() != 255)[sure], (distance < width / 2)[sure])


@given(st.integers(0, 999), st.floats(0.8, 20), st.sampled_from(["m", "px"]))
def test_lines_and_points_cover_what_is_near(
    tmp_path_factory: pytest.TempPathFactory, seed: int, width: float, unit: str
) -> None:
    places = np.random.default_rng(seed).uniform((0, 0), (50, 40), (4, 2)) @ np.diag([10, -10]) + (330_000, 5_822_040)
    for shape in (LineString(places), Point(places[0])):
        path = write_areas(tmp_path_factory.mktemp("l") / "l.gpkg", [shape], {"kind": ["lake"]})
        wide = {"unit": unit, "default": width * (10 if unit == "m" else 1)}
        found = labels(path, width=wide, background="wood").class_ids(GRID.area, all_touched=False)
        distance = shapely.distance(shape, shapely.points(centres(GRID))) / 10
        sure = np.abs(distance / (width / 2) - 1) > 0.004  # on the edge: a circle has corners, and UTM a scale
        np.testing.assert_array_equal((found.ravel() == 1)[sure], (distance < width / 2)[sure])


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", Affine(0.0002, 0, 11.9, 0, -0.0001, 60.2)),
        ("EPSG:3857", Affine(20, 0, 1_330_000, 0, -20, 8_450_000)),
        ("EPSG:32633", Affine.translation(400_000, 6_600_000) @ Affine.rotation(30) @ Affine.scale(8, -12)),
    ],
)
def test_metres_are_those_of_the_ground_on_any_grid(tmp_path: Path, crs: str, transform: Affine) -> None:
    grid = Grid(CRS.from_string(crs), transform, (80, 90))
    line = LineString([transform @ p for p in [(10, 10), (50, 30), (80, 70)]])
    dot = Point(*(transform @ (20, 60)))
    to_metres = Transformer.from_crs(crs, "EPSG:32632" if crs == "EPSG:32632" else "EPSG:32633", always_xy=True)
    ground = shapely.points(np.column_stack(to_metres.transform(*centres(grid).T)))
    for shape, width in ((line, 150.0), (dot, 220.0)):
        path = write_areas(tmp_path / f"{width}.gpkg", [shape], {"kind": ["lake"]}, crs=crs)
        found = labels(path, grid, width={"unit": "m", "classes": {"lake": width}}).class_ids(
            grid.area, all_touched=False
        )
        dense = shapely.segmentize(shape, 2 * transform.a if transform.b == 0 else 20)
        moved = shapely.transform(dense, lambda xy: np.column_stack(to_metres.transform(*xy.T)))
        check_distances(found, shapely.distance(moved, ground), width)


def test_each_class_has_its_width_and_polygons_need_none(tmp_path: Path) -> None:
    line = LineString([NORTH_UP @ (0, 10), NORTH_UP @ (50, 10)])
    low = LineString([NORTH_UP @ (0, 30), NORTH_UP @ (50, 30)])
    path = write_areas(tmp_path / "l.gpkg", [line, low, pixel_box(0, 38, 50, 40)], {"kind": ["wood", "lake", "lake"]})
    found = labels(path, width={"unit": "px", "default": 2.0, "classes": {"lake": 4.0}})
    expected = np.full(GRID.shape, 255)
    expected[9:11], expected[28:32], expected[38:] = 0, 1, 1
    np.testing.assert_array_equal(found.class_ids(GRID.area, all_touched=False), expected)


def test_lines_and_points_without_a_width_are_counted(tmp_path: Path) -> None:
    line = LineString([NORTH_UP @ (0, 10), NORTH_UP @ (50, 10)])
    mixed = GeometryCollection([line, Point(NORTH_UP @ (9, 9)), pixel_box(1, 1, 5, 5)])
    path = write_areas(tmp_path / "l.gpkg", [line, line, mixed], {"kind": ["wood", "lake", "lake"]})
    with pytest.raises(
        LabelError, match=r"without a width(.|\n)*got: 1 lines of class wood, 2 lines of class lake, 1 points"
    ):
        labels(path)
    with pytest.raises(LabelError, match=r"scene: s(.|\n)*got: 1 lines of class wood\n(.|\n)*hint: .*width"):
        labels(path, width={"unit": "px", "classes": {"lake": 4.0}})
    with pytest.raises(LabelError, match=r"doesn't have(.|\n)*width.classes: moor"):
        labels(path, width={"unit": "px", "default": 1.0, "classes": {"moor": 4.0}})
    areas = write_areas(tmp_path / "a.gpkg", [pixel_box(1, 1, 5, 5)], {"kind": ["lake"]})
    with pytest.raises(LabelError, match=r"doesn't have(.|\n)*width.classes: moor"):
        labels(areas, width={"unit": "px", "classes": {"moor": 4.0}})
    assert (labels(path, drop=["wood"], width={"unit": "px", "classes": {"lake": 4.0}}).areas.values == 1).all()


def test_collections_count_with_all_their_parts(tmp_path: Path) -> None:
    line, dot = LineString([NORTH_UP @ (0, 20), NORTH_UP @ (50, 20)]), Point(NORTH_UP @ (40, 35))
    collection = GeometryCollection([pixel_box(1, 1, 5, 5), GeometryCollection([line, dot])])
    path = write_areas(tmp_path / "l.gpkg", [collection], {"kind": ["lake"]})
    found = labels(path, width={"unit": "px", "default": 2.0}).class_ids(GRID.area, all_touched=False) == 1
    expected = np.zeros(GRID.shape, bool)
    expected[1:5, 1:5] = expected[19:21] = expected[34:36, 39:41] = True
    np.testing.assert_array_equal(found, expected)


def test_a_line_without_length_is_a_point(tmp_path: Path) -> None:
    line = LineString([NORTH_UP @ (20, 20)] * 2)
    path = write_areas(tmp_path / "l.gpkg", [line], {"kind": ["lake"]})
    assert (labels(path, width={"unit": "px", "default": 2.0}).class_ids(GRID.area, all_touched=False) == 1).sum() == 4


def test_a_local_crs_has_metres_and_no_way_to_earth(tmp_path: Path) -> None:
    local = CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]')
    line = LineString([NORTH_UP @ (0, 10), NORTH_UP @ (50, 10)])
    path = write_areas(tmp_path / "l.gpkg", [line], {"kind": ["lake"]}, crs=local.to_wkt())
    site = Grid(local, NORTH_UP, (40, 50))
    found = labels(path, site, width={"unit": "m", "default": 40.0}).class_ids(site.area, all_touched=False)
    assert (found == 1).sum() == 4 * 50
    with pytest.raises(LabelError, match=r"no transformation is known(.|\n)*expected: EPSG:32633"):
        labels(path, width={"unit": "m", "default": 40.0})


def test_metres_beside_the_earth_are_those_of_the_plane() -> None:
    corner = CRS.from_string("+proj=geos +h=35786023 +lon_0=-75")
    beside = Grid(corner, Affine(2000, 0, -5.5e6, 0, -2000, 5.5e6), (9, 9))
    (dot,) = widened(np.array([Point(4, 4)], object), np.array([8000.0]), "m", beside)
    np.testing.assert_allclose(dot.bounds, (2, 2, 6, 6))


def test_metres_without_a_crs(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "l.gpkg", [LineString([(0, 5), (12, 5)])], {"kind": ["lake"]}, crs=None)
    bare = Grid(None, Affine.identity(), (12, 12))
    with pytest.raises(LabelError, match=r"need an image with a CRS(.|\n)*px"):
        labels(path, bare, width={"unit": "m", "default": 2.0})
    found = labels(path, bare, width={"unit": "px", "default": 2.0}).class_ids(bare.area, all_touched=False)
    assert (found == 1).sum() == 24


def test_overlapping_parts_of_a_feature_leave_no_hole(tmp_path: Path) -> None:
    path = write_areas(
        tmp_path / "l.gpkg", [MultiPolygon([pixel_box(0, 0, 20, 20), pixel_box(10, 10, 30, 30)])], {"kind": ["lake"]}
    )
    assert (labels(path).class_ids(GRID.area, all_touched=False) == 1).sum() == 700


def test_features_far_from_the_grid_are_dropped_and_long_ones_cut(tmp_path: Path) -> None:
    areas = [pixel_box(-5000, -5000, 5000, 25), pixel_box(60, 0, 90, 30), pixel_box(45, 35, 300, 300)]
    path = write_areas(tmp_path / "l.gpkg", areas, {"kind": ["lake"] * 3})
    kept = labels(path).areas.geometry
    assert len(kept) == 2
    assert shapely.total_bounds(kept).tolist() == [-1, -1, 51, 41]


def test_one_class_for_all(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "l.gpkg", [pixel_box(0, 0, 9, 9), pixel_box(20, 0, 29, 9)], {"height": [2.0, None]})
    assert labels(path, default="lake").areas.values.tolist() == [1, 1]
    with pytest.raises(LabelError, match=r"doesn't have(.|\n)*expected: wood, lake(.|\n)*got: default: building"):
        labels(path, default="building")
    for wrong in ({"field": "kind", "default": "lake"}, {}, {"default": "lake", "drop": ["a"]}):
        with pytest.raises(ValidationError):
            VectorLabels.model_validate({"kind": "vector", "path": "p", **wrong}, strict=False)


def test_a_filter_leaves_features_out(tmp_path: Path) -> None:
    areas = [pixel_box(n, n, n + 3, n + 3) for n in range(0, 40, 10)]
    fields = {"height": [2.0, 4.0, None, 9.0], "kind": ["wood", "lake", "lake", "moor"]}
    path = write_areas(tmp_path / "l.gpkg", areas, fields)
    assert len(labels(path, filter="height > 3 and kind != 'moor'").areas.values) == 1
    assert len(labels(path, filter="kind == 'wood' | height == None").areas.values) == 2
    with pytest.raises(LabelError, match=r"no class lists(.|\n)*moor \(1 features\)"):
        labels(path, filter="height > 3")
    with pytest.raises(LabelError, match=r"no label lies(.|\n)*got: 0 features within nothing"):
        labels(path, filter="height > 30")
    assert not len(labels(path, filter="height > 30", background="wood").areas.values)


@pytest.mark.parametrize(
    "query",
    ["hight > 3", "height", "kind > 3", "kind == 3", "height == 'tall'", "kind in ['wood', 3]"],
)
def test_a_filter_that_does_not_fit_the_fields_is_named(tmp_path: Path, query: str) -> None:
    path = write_areas(tmp_path / "l.gpkg", [pixel_box(0, 0, 9, 9)], {"height": [2.0], "kind": ["wood"]})
    with pytest.raises(
        LabelError, match=r"filter can't be applied(.|\n)*scene: s(.|\n)*expected: .*height, kind"
    ) as raised:
        labels(path, filter=query)
    assert f"got: {query}: " in str(raised.value)


@given(st.integers(0, 99), st.booleans())
def test_outside_is_a_class_but_for_what_is_dropped(
    tmp_path_factory: pytest.TempPathFactory, seed: int, touched: bool
) -> None:
    generator = np.random.default_rng(seed)
    areas = [
        Polygon(generator.uniform((-5, -5), (55, 45), (3, 2)) @ np.diag([10, -10]) + (330_000, 5_822_040))
        for _ in range(9)
    ]
    kinds = generator.choice(["lake", "unknown", "forest"], 9).tolist()
    path = write_areas(tmp_path_factory.mktemp("labels") / "l.gpkg", areas, {"kind": kinds})
    opened = labels(path, key=legend(lake=["lake"], wood=["forest"], rest=[]), drop=["unknown"], background="rest")
    shapes = [(a, {"lake": 0, "forest": 1}[k]) for a, k in zip(areas, kinds, strict=True) if k != "unknown"]
    dropped = [(a, 255) for a, k in zip(areas, kinds, strict=True) if k == "unknown"]
    expected = rasterize(
        [*dropped, *shapes], GRID.shape, fill=2, transform=NORTH_UP, dtype="uint8", all_touched=touched
    )
    np.testing.assert_array_equal(opened.class_ids(GRID.area, all_touched=touched), expected)


def test_a_file_without_features_needs_no_fields(tmp_path: Path) -> None:
    path = tmp_path / "none.geojson"
    path.write_text('{"type": "FeatureCollection", "features": []}')  # which can't say what fields there would be
    opened = labels(path, background="wood", filter="area > 3")
    assert (opened.class_ids(GRID.area, all_touched=False) == 0).all()
    with pytest.raises(LabelError, match=r"no label lies(.|\n)*got: 0 features"):
        labels(path)


def test_outside_of_all_labels(tmp_path: Path) -> None:
    nothing = write_areas(tmp_path / "n.gpkg", [pixel_box(0, 0, 1, 1)][:0], {"kind": []})
    around = write_areas(
        tmp_path / "a.gpkg", [pixel_box(-9, 0, -5, 9), pixel_box(90, 50, 99, 90)], {"kind": ["lake"] * 2}
    )
    beside = write_areas(tmp_path / "b.gpkg", [pixel_box(90, 50, 99, 90)], {"kind": ["lake"]})
    for path in (nothing, around):
        assert (labels(path, background="wood").class_ids(GRID.area, all_touched=False) == 0).all()
        with pytest.raises(LabelError, match="no label lies on the image"):
            labels(path)
    with pytest.raises(LabelError, match="no label lies on the image"):
        labels(beside, background="wood")


def test_a_spike_of_a_polygon_labels_nothing(tmp_path: Path) -> None:
    spiked = Polygon([NORTH_UP @ c for c in [(3, 4), (20, 4), (20, 10), (40, 10), (20, 10), (20, 30), (3, 30)]])
    assert not spiked.is_valid
    opened = labels(write_areas(tmp_path / "l.gpkg", [spiked], {"kind": ["lake"]}))
    expected = np.full(GRID.shape, 255)
    expected[4:30, 3:20] = 1
    np.testing.assert_array_equal(opened.class_ids(GRID.area, all_touched=False), expected)


def test_a_polygon_that_is_but_a_line_labels_nothing(tmp_path: Path) -> None:
    flat = Polygon([NORTH_UP @ c for c in [(30, 4), (40, 4), (30, 4)]])
    path = write_areas(tmp_path / "l.gpkg", [flat, pixel_box(0, 0, 5, 5)], {"kind": ["lake", "wood"]})
    found = labels(path).class_ids(GRID.area, all_touched=False)
    assert (found != 255).sum() == 25


def test_a_table_without_geometries(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("kind,x\nlake,1\n")
    with pytest.raises(LabelError, match="without geometries"):
        labels(tmp_path / "l.csv")


def test_of_many_unknown_values_the_commonest_are_told(tmp_path: Path) -> None:
    kinds = ["often", "often", *(f"kind {n}" for n in range(100))]
    path = write_areas(tmp_path / "l.gpkg", [pixel_box(0, 0, 9, 9)] * 102, {"kind": kinds})
    with pytest.raises(LabelError, match=r"got: often \(2 features\), .* and 61 more") as caught:
        labels(path)
    assert len(str(caught.value)) < 2000


def test_labels_on_earth_for_an_image_in_a_local_crs(tmp_path: Path) -> None:
    grid = Grid(CRS.from_wkt('LOCAL_CS["mine",UNIT["metre",1]]'), NORTH_UP, (40, 50))
    path = write_areas(tmp_path / "l.gpkg", [pixel_box(0, 0, 9, 9)], {"kind": ["lake"]})
    with pytest.raises(LabelError, match="no transformation is known"):
        labels(path, grid)


def test_a_filter_that_no_feature_passes_is_told_of(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "l.gpkg", [pixel_box(3, 5, 20, 30)], {"kind": ["lake"]})
    opened = labels(path, filter="kind == 'Lake'", background="wood")
    assert opened.remarks == (
        f"{path}: none of its 1 features passes the filter kind == 'Lake': is it as it should be?",
    )
    assert labels(path, filter="kind == 'lake'", background="wood").remarks == ()
