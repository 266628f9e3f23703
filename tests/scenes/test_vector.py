"""Labels and AOIs fall on the pixels that they cover, in any CRS, and are never lost without a word."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.features import rasterize
from shapely.geometry import MultiPolygon, Point, Polygon, box

from quadrat.errors import AOIError, LabelError
from quadrat.scenes.grid import Grid
from quadrat.scenes.vector import LabelSource, open_aoi
from quadrat.windows import Window, whole
from tests.ground import NORTH_UP, UTM, pixel_box, write_areas

GRID = Grid(CRS.from_string(UTM), NORTH_UP, (40, 50))
ALIASES = {"wood": 0, "forest": 0, "lake": 1}


def labels(path: Path, **options: object) -> LabelSource:
    return LabelSource(path=str(path), field="kind", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("to_crs", [None, "EPSG:4326", "EPSG:32632", "EPSG:3035"])
@pytest.mark.parametrize("ending", ["gpkg", "geojson", "fgb", "shp"])
def test_labels_in_another_crs_fall_on_the_same_pixels(tmp_path: Path, to_crs: str | None, ending: str) -> None:
    if ending == "geojson" and to_crs is None:
        to_crs = "EPSG:4326"
    areas = [pixel_box(3, 5, 20, 30), pixel_box(20 if ending == "fgb" else 15, 10, 45, 38)]  # fgb keeps no order
    path = write_areas(tmp_path / f"l.{ending}", areas, {"kind": ["forest", "lake"]}, to_crs=to_crs)
    opened = labels(path).open(GRID, ALIASES, "s")
    expected = rasterize([(areas[0], 0), (areas[1], 1)], GRID.shape, fill=255, transform=NORTH_UP, dtype="uint8")
    np.testing.assert_array_equal(opened.class_ids(GRID.area, all_touched=False), expected)


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
    np.testing.assert_array_equal(
        labels(path).open(grid, ALIASES, "s").class_ids(whole((30, 30)), all_touched=False), expected
    )


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_any_window_shows_the_part_of_the_whole(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 20)))
    areas = [
        Polygon(generator.uniform((-5, -5), (55, 45), (3, 2)) @ np.diag([10, -10]) + (330_000, 5_822_040))
        for _ in range(12)
    ]
    kinds = generator.choice(["wood", "lake"], 12).tolist()
    path = write_areas(tmp_path_factory.mktemp("labels") / "l.gpkg", areas, {"kind": kinds})
    opened = labels(path).open(GRID, ALIASES, "s")
    shapes = [(a, ALIASES[k]) for a, k in zip(areas, kinds, strict=True)]
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
    with pytest.raises(LabelError, match=r"no class claims(.|\n)*moor \(2 features\), null \(1 features\)"):
        labels(path).open(GRID, ALIASES, "s")
    dropped = labels(path, drop=("moor", "null")).open(GRID, ALIASES, "s")
    assert len(dropped.ids) == 1


def test_numeric_values_are_named_as_whole_numbers(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "l.gpkg", [pixel_box(0, 0, 5, 5)] * 2, {"kind": [3.0, 4.0]})
    assert labels(path).open(GRID, {"3": 0, "4": 1}, "s").ids.tolist() == [0, 1]


def test_labels_that_miss_the_image(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "l.gpkg", [pixel_box(500, 500, 600, 600)], {"kind": ["lake"]})
    with pytest.raises(LabelError, match=r"no label lies on the image(.|\n)*CRS"):
        labels(path).open(GRID, ALIASES, "s")


def test_a_field_a_layer_and_a_file_that_are_not_there(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "l.gpkg", [pixel_box(0, 0, 9, 9)], {"type": ["lake"]})
    with pytest.raises(LabelError, match=r"no such field(.|\n)*expected: kind(.|\n)*got: type"):
        labels(path).open(GRID, ALIASES, "s")
    with pytest.raises(LabelError, match="can't be read"):
        labels(path, layer="none").open(GRID, ALIASES, "s")
    with pytest.raises(LabelError, match="missing"):
        labels(tmp_path / "none.gpkg").open(GRID, ALIASES, "s")
    (tmp_path / "bad.gpkg").write_bytes(b"not a database")
    with pytest.raises(LabelError, match="can't be read"):
        labels(tmp_path / "bad.gpkg").open(GRID, ALIASES, "s")


def test_one_with_and_one_without_a_crs_is_an_error(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "l.gpkg", [box(0, 0, 9, 9)], {"kind": ["lake"]}, crs=None)
    with pytest.raises(LabelError, match=r"must both have a CRS(.|\n)*got: no CRS"):
        labels(path).open(GRID, ALIASES, "s")
    bare = Grid(None, Affine.identity(), (12, 12))
    opened = labels(path).open(bare, ALIASES, "s")  # pixel coordinates
    expected = np.full((12, 12), 255)
    expected[:9, :9] = 1
    np.testing.assert_array_equal(opened.class_ids(bare.area, all_touched=False), expected)


def test_self_crossing_polygons_keep_their_area(tmp_path: Path) -> None:
    bow = Polygon([NORTH_UP @ c for c in [(0, 0), (20, 20), (20, 0), (0, 20)]])
    opened = labels(write_areas(tmp_path / "l.gpkg", [bow], {"kind": ["lake"]})).open(GRID, ALIASES, "s")
    assert (opened.class_ids(GRID.area, all_touched=False) == 1).sum() == pytest.approx(200, abs=25)


def test_features_without_geometry_are_named(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "l.gpkg", [pixel_box(0, 0, 9, 9), None], {"kind": ["lake", "lake"]})
    with pytest.raises(LabelError, match=r"without geometry(.|\n)*1 of 2"):
        labels(path).open(GRID, ALIASES, "s")


def test_holes_are_unlabelled(tmp_path: Path) -> None:
    ring = pixel_box(5, 5, 25, 25).difference(pixel_box(10, 10, 15, 15))
    path = write_areas(tmp_path / "l.gpkg", [ring], {"kind": ["lake"]})
    found = labels(path).open(GRID, ALIASES, "s").class_ids(GRID.area, all_touched=False)
    assert (found[10:15, 10:15] == 255).all()
    assert (found == 1).sum() == 400 - 25


def test_an_aoi_with_a_hole_and_its_bounds(tmp_path: Path) -> None:
    ring = pixel_box(5, 6, 25, 27).difference(pixel_box(10, 10, 15, 15))
    aoi = open_aoi(str(write_areas(tmp_path / "a.geojson", [ring], to_crs="EPSG:4326")), GRID, "s")
    mask = aoi.mask(GRID.area)
    expected = np.zeros(GRID.shape, bool)
    expected[6:27, 5:25] = True
    expected[10:15, 10:15] = False
    np.testing.assert_array_equal(mask, expected)
    inside = aoi.bounds
    assert inside.row <= 6 and inside.bottom >= 27  # noqa: PT018


def test_a_one_pixel_aoi(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "a.gpkg", [pixel_box(7, 9, 8, 10)])
    aoi = open_aoi(str(path), GRID, "s")
    assert aoi.mask(GRID.area).sum() == 1
    assert aoi.mask(GRID.area)[9, 7]


@pytest.mark.parametrize(
    "area",
    [pixel_box(200, 200, 300, 300), pixel_box(3.6, 3.6, 3.9, 3.9), Point(330_050, 5_822_000)],
    ids=["elsewhere", "between pixel centres", "a point"],
)
def test_an_aoi_that_leaves_nothing(tmp_path: Path, area: Polygon) -> None:
    path = write_areas(tmp_path / "a.gpkg", [area])
    with pytest.raises(AOIError, match="leaves no pixel"):
        open_aoi(str(path), GRID, "s")


def test_a_spike_of_a_polygon_labels_nothing(tmp_path: Path) -> None:
    spiked = Polygon([NORTH_UP @ c for c in [(3, 4), (20, 4), (20, 10), (40, 10), (20, 10), (20, 30), (3, 30)]])
    assert not spiked.is_valid
    opened = labels(write_areas(tmp_path / "l.gpkg", [spiked], {"kind": ["lake"]})).open(GRID, ALIASES, "s")
    expected = np.full(GRID.shape, 255)
    expected[4:30, 3:20] = 1
    np.testing.assert_array_equal(opened.class_ids(GRID.area, all_touched=False), expected)


def test_a_polygon_that_is_but_a_line_labels_nothing(tmp_path: Path) -> None:
    flat = Polygon([NORTH_UP @ c for c in [(30, 4), (40, 4), (30, 4)]])
    path = write_areas(tmp_path / "l.gpkg", [flat, pixel_box(0, 0, 5, 5)], {"kind": ["lake", "wood"]})
    found = labels(path).open(GRID, ALIASES, "s").class_ids(GRID.area, all_touched=False)
    assert (found != 255).sum() == 25


def test_an_aoi_that_also_touches_the_image_from_outside(tmp_path: Path) -> None:
    two = MultiPolygon([pixel_box(10, 10, 20, 20), pixel_box(-10, 0, 0, 40)])
    aoi = open_aoi(str(write_areas(tmp_path / "a.gpkg", [two])), GRID, "s")
    assert aoi.bounds == Window(10, 10, 10, 10)
    assert aoi.mask(GRID.area).sum() == 100


def test_a_table_without_geometries(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("kind,x\nlake,1\n")
    with pytest.raises(LabelError, match="without geometries"):
        labels(tmp_path / "l.csv").open(GRID, ALIASES, "s")
    with pytest.raises(AOIError, match="without geometries"):
        open_aoi(str(tmp_path / "l.csv"), GRID, "s")


def test_of_many_unknown_values_the_commonest_are_told(tmp_path: Path) -> None:
    kinds = ["often", "often", *(f"kind {n}" for n in range(100))]
    path = write_areas(tmp_path / "l.gpkg", [pixel_box(0, 0, 9, 9)] * 102, {"kind": kinds})
    with pytest.raises(LabelError, match=r"got: often \(2 features\), .* and 61 more") as caught:
        labels(path).open(GRID, ALIASES, "s")
    assert len(str(caught.value)) < 2000


def test_labels_on_earth_for_an_image_in_a_local_crs(tmp_path: Path) -> None:
    grid = Grid(CRS.from_wkt('LOCAL_CS["mine",UNIT["metre",1]]'), NORTH_UP, (40, 50))
    path = write_areas(tmp_path / "l.gpkg", [pixel_box(0, 0, 9, 9)], {"kind": ["lake"]})
    with pytest.raises(LabelError, match="no way is known"):
        labels(path).open(grid, ALIASES, "s")
