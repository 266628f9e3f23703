"""Boxes around labels lie where the features do, cut to the grid, and none is missed by any window."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.crs import CRS
from shapely import transform
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box

from quadrat.errors import LabelError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window, whole
from quadrat.labels.labels import open_labels
from quadrat.labels.objects import Envelopes, Objects
from quadrat.labels.raster import RasterLabels
from quadrat.labels.vector import VectorLabels
from tests.ground import NORTH_UP, UTM, detection, pixel_box, segmentation, write_areas, write_raster

GRID = Grid(CRS.from_string(UTM), NORTH_UP, (40, 50))
TASK = detection("tree", "car")
HINT = "repair or delete them, the first from"


def envelopes(path: Path, grid: Grid = GRID, window: Window | None = None, **options: Any) -> Envelopes:
    source = VectorLabels.model_validate(
        {"kind": "vector", "path": str(path), "field": "kind", **options}, strict=False
    )
    with open_labels([source], grid, TASK, "s") as labels:
        assert labels is not None
        return labels.envelopes(window or grid.area)


@pytest.mark.parametrize("to_crs", [None, "EPSG:4326", "EPSG:32632"])
def test_labels_in_another_crs_have_the_same_boxes(tmp_path: Path, to_crs: str | None) -> None:
    areas = [pixel_box(3, 5, 20, 30), pixel_box(15.5, 10.25, 45, 38)]
    found = envelopes(write_areas(tmp_path / "l.gpkg", areas, {"kind": ["tree", "car"]}, to_crs=to_crs))
    np.testing.assert_allclose(found.bounds, [[3, 5, 20, 30], [15.5, 10.25, 45, 38]], atol=2e-3)
    np.testing.assert_array_equal(found.class_ids, [0, 1])
    np.testing.assert_array_equal(found.shares, 1)


def test_a_box_is_upright_on_the_image_and_not_in_the_labels_crs(tmp_path: Path) -> None:
    grid = Grid(CRS.from_string(UTM), NORTH_UP @ Affine.rotation(30), (60, 60))
    corners = [grid.transform @ corner for corner in ((20, 20), (40, 20), (40, 30), (20, 30))]
    found = envelopes(write_areas(tmp_path / "l.gpkg", [Polygon(corners)], {"kind": ["car"]}), grid)
    np.testing.assert_allclose(found.bounds, [[20, 20, 40, 30]])
    to_degrees = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    slanted = transform(Polygon(corners), lambda xy: np.column_stack(to_degrees.transform(*xy.T)))
    path = write_areas(tmp_path / "d.gpkg", [slanted], {"kind": ["car"]}, crs="EPSG:4326")
    np.testing.assert_allclose(envelopes(path, grid).bounds, [[20, 20, 40, 30]], atol=1e-3)


def test_points_and_lines_have_the_boxes_of_their_widths(tmp_path: Path) -> None:
    point, line = Point(NORTH_UP @ (10, 20)), LineString([NORTH_UP @ (20, 5), NORTH_UP @ (30, 5)])
    path = write_areas(tmp_path / "l.gpkg", [point, line], {"kind": ["tree", "car"]})
    found = envelopes(path, width={"unit": "px", "default": 6.0})
    np.testing.assert_allclose(found.bounds, [[7, 17, 13, 23], [17, 2, 33, 8]], atol=1e-6)


def test_boxes_are_cut_to_the_grid_and_say_how_much_is_left(tmp_path: Path) -> None:
    areas = [pixel_box(-5, 10, 15, 20), pixel_box(40, 35, 60, 45), pixel_box(60, 60, 70, 70), pixel_box(-9, -9, 99, 99)]
    found = envelopes(write_areas(tmp_path / "l.gpkg", areas, {"kind": ["tree"] * 4}))
    np.testing.assert_allclose(found.bounds, [[0, 10, 15, 20], [40, 35, 50, 40], [0, 0, 50, 40]])
    np.testing.assert_allclose(found.shares, [0.75, 0.25, 2000 / 108**2])


def test_what_is_dropped_is_there_and_of_no_class(tmp_path: Path) -> None:
    areas = [pixel_box(0, 0, 9, 9), pixel_box(20, 20, 29, 29)]
    path = write_areas(tmp_path / "l.gpkg", areas, {"kind": ["tree", "shrub"]})
    for outside in ({}, {"background": "car"}):
        np.testing.assert_array_equal(envelopes(path, drop=["shrub"], **outside).class_ids, [0, 255])


@pytest.mark.parametrize("to_crs", [None, "EPSG:3035"])
def test_features_around_which_there_is_no_box_are_told(tmp_path: Path, to_crs: str | None) -> None:
    flat = Polygon([NORTH_UP @ corner for corner in ((9, 9), (20, 9), (9, 9))])
    spike = Polygon([NORTH_UP @ corner for corner in ((9, 9), (20, 20), (12, 12), (9, 9))])
    areas = [pixel_box(3, 5, 20, 30), flat, pixel_box(12, 12, 12.0003, 20), spike, pixel_box(9, 9, 9.1, 9.1), flat]
    kinds = ["tree", "tree", "car", "car", "tree", "crown"]
    path = write_areas(tmp_path / "l.gpkg", areas, {"kind": kinds}, to_crs=to_crs)
    source = VectorLabels.model_validate(
        {"kind": "vector", "path": str(path), "field": "kind", "drop": ["crown"]}, strict=False
    )
    with open_labels([source], GRID, TASK, "s") as labels:
        assert labels is not None
        first = labels.remarks
        assert len(labels.envelopes(GRID.area).bounds) == 2
        told = labels.remarks
    if to_crs is None:  # in another CRS, what was flat may be so by a rounding
        assert first == (f"{path}: 2 of 6 features have no area: they label nothing; {HINT} {place(flat)}",)
        thin = f"1 of 6 features have an extent below 0.001 px: they are no objects; {HINT} {place(areas[2])}"
        assert told == (*first, f"{path}: {thin}")
    assert sum(int(one.split(": ")[1].split(" of ")[0]) for one in told) == 3


@pytest.mark.parametrize(
    ("kinds", "more", "copies"),
    [
        (["tree", "tree", "car"], [], "1 object is"),
        (["tree", "car", "car"], [], None),
        (["tree", "tree", "tree"], ["tree", "car"], "2 objects are"),
        (["crown", "crown", "car"], [], None),
    ],
)
def test_objects_that_are_labelled_twice_are_told(
    tmp_path: Path, kinds: list[str], more: list[str], copies: str | None
) -> None:
    areas = [pixel_box(3, 5, 20, 30), pixel_box(3, 5, 20, 30), pixel_box(3, 5, 20, 29)]
    paths = [write_areas(tmp_path / "l.gpkg", areas, {"kind": kinds}, to_crs="EPSG:3035")]
    paths += [write_areas(tmp_path / "m.gpkg", areas[: len(more)], {"kind": more})] if more else []
    sources = [
        VectorLabels.model_validate(
            {"kind": "vector", "path": str(path), "field": "kind", "drop": ["crown"]}, strict=False
        )
        for path in paths
    ]
    with open_labels(sources, GRID, TASK, "s") as labels:
        assert labels is not None
        assert labels.remarks == ()
        labels.envelopes(GRID.area)
        told = [one for one in labels.remarks if "once more" in one]
    assert [one.partition(" in the labels")[0] for one in told] == ([f"scene s: {copies}"] if copies else [])


def test_lines_and_points_far_away_are_not_flat(tmp_path: Path) -> None:
    points = [Point(NORTH_UP @ (10, 20)), Point(NORTH_UP @ (9000, 20))]
    path = write_areas(tmp_path / "l.gpkg", points, {"kind": ["tree", "tree"]})
    source = VectorLabels.model_validate(
        {"kind": "vector", "path": str(path), "field": "kind", "width": {"unit": "px", "default": 3.0}}, strict=False
    )
    with open_labels([source], GRID, TASK, "s") as labels:
        assert labels is not None
        assert len(labels.envelopes(GRID.area).bounds) == 1
        assert labels.remarks == ()


def place(area: Polygon) -> str:
    return f"x {area.bounds[0]:.10g}, y {area.bounds[1]:.10g} on"


def test_pixels_have_no_objects(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "l.tif", np.zeros((1, 40, 50), np.uint8))
    source = RasterLabels.model_validate({"kind": "raster", "path": str(path), "values": "ids"}, strict=False)
    task = detection(classes=[{"name": "a", "color": "#000000", "from": ["0"]}])
    with open_labels([source], GRID, task, "s") as labels:
        assert labels is not None
        with pytest.raises(LabelError, match="labels of pixels have no objects"):
            labels.envelopes(GRID.area)


def test_no_object_is_an_answer_where_the_task_takes_it_for_one(tmp_path: Path) -> None:
    empty = write_areas(tmp_path / "e.gpkg", [pixel_box(0, 0, 1, 1)][:0], {"kind": []})
    around = write_areas(
        tmp_path / "a.gpkg", [pixel_box(-9, -9, -5, -5), pixel_box(90, 80, 99, 90)], {"kind": ["tree"] * 2}
    )
    for path in (empty, around):
        assert envelopes(path).bounds.shape == (0, 4)
    beside = write_areas(tmp_path / "b.gpkg", [pixel_box(90, 80, 99, 90)], {"kind": ["tree"]})
    with pytest.raises(LabelError, match="no label lies on the image"):
        envelopes(beside)
    source = VectorLabels.model_validate({"kind": "vector", "path": str(empty), "field": "kind"}, strict=False)
    with (
        pytest.raises(LabelError, match="no label lies on the image"),
        open_labels([source], GRID, segmentation("tree", "car"), "s"),
    ):
        pass


@given(st.integers(0, 9999), st.integers(0, 30), st.data())
def test_a_window_gets_all_boxes_that_share_area_with_it(seed: int, count: int, data: st.DataObject) -> None:
    generator = np.random.default_rng(seed)
    corner = generator.integers(-5, 50, (count, 2))
    bounds = np.concatenate([corner, corner + generator.integers(1, 20, (count, 2))], axis=1)
    # two specks in opposite corners: the box is nearly empty
    specks = [MultiPolygon([box(a, b, a + 0.5, b + 0.5), box(c - 0.5, d - 0.5, c, d)]) for a, b, c, d in bounds]
    grid = whole((40, 50))
    every = Envelopes.around(Objects(np.array(specks, object), np.arange(count, dtype=np.uint8)), grid)
    window = Window(
        *(data.draw(st.integers(-9, 45)) for _ in range(2)), *(data.draw(st.integers(1, 30)) for _ in range(2))
    )
    expected = []
    for number, (left, top, right, bottom) in enumerate(np.clip(bounds, 0, [50, 40, 50, 40])):
        if min(right, window.right) > max(left, window.col) and min(bottom, window.bottom) > max(top, window.row):
            expected.append(number)
    np.testing.assert_array_equal(every.meeting(window).class_ids, expected)
