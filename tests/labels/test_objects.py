"""Objects are the features as they are: whole, in the file's order, also over the window's and the image's edge."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from rasterio.crs import CRS
from shapely.geometry import MultiPolygon, Point, Polygon, box

from quadrat.errors import LabelError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.labels.labels import LabelSource, open_labels
from quadrat.labels.objects import Objects, gathered
from tests.ground import NORTH_UP, UTM, legend, pixel_box, write_areas, write_raster

GRID = Grid(CRS.from_string(UTM), NORTH_UP, (40, 50))
KEY = legend(wood=["wood", "1"], lake=["lake", "2"])
SOURCE: TypeAdapter[Any] = TypeAdapter(LabelSource)


def objects(path: Path, window: Window = GRID.area, **options: Any) -> Any:
    content = {"kind": "vector", "path": str(path), "field": "kind", **options}
    with open_labels([SOURCE.validate_python(content, strict=False)], GRID, KEY, "s") as labels:
        assert labels
        return labels.objects(window)


def test_features_come_whole_and_what_is_dropped_comes_too(tmp_path: Path) -> None:
    two = MultiPolygon([pixel_box(2, 2, 5, 5), pixel_box(10, 8, 12, 12)])
    over = pixel_box(45, 30, 60, 50)
    areas = [two, over, pixel_box(20, 20, 22, 22), pixel_box(200, 0, 210, 9)]
    kinds = {"kind": ["wood", "lake", "ruin", "wood"]}
    found = objects(write_areas(tmp_path / "a.gpkg", areas, kinds, to_crs="EPSG:4326"), drop=["ruin"])
    assert found.class_ids.tolist() == [0, 1, 255]
    bounds = [[2, 2, 12, 12], [45, 30, 60, 50], [20, 20, 22, 22]]
    np.testing.assert_allclose(shapely.bounds(found.geometry), bounds, atol=1e-3)
    assert shapely.area(found.geometry[0]) == pytest.approx(9 + 8, abs=0.01)


def test_a_point_is_as_large_as_its_width(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "p.gpkg", [Point(NORTH_UP @ (20.5, 10.5))], {"kind": ["lake"]})
    found = objects(path, width={"unit": "m", "default": 60.0})
    np.testing.assert_allclose(shapely.bounds(found.geometry), [[17.5, 7.5, 23.5, 13.5]], atol=0.01)


def test_a_raster_has_no_objects(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "ids.tif", np.ones((1, 40, 50), np.uint8))
    with open_labels(
        [SOURCE.validate_python({"kind": "raster", "path": str(path), "values": "ids"})], GRID, KEY, "s"
    ) as labels:
        assert labels
        assert labels.ranked[0].objects(GRID.area) is None
        with pytest.raises(LabelError, match=r"labels of pixels have no objects\n  scene: s"):
            labels.objects(GRID.area)


@given(st.integers(0, 10_000))
def test_within_a_window_is_what_shares_area_with_it(seed: int) -> None:
    generator = np.random.default_rng(seed)
    corners = generator.integers(-5, 45, (30, 2))
    sides = generator.integers(1, 9, (30, 2))
    geometry = np.array([box(*c, *(c + s)) for c, s in zip(corners, sides, strict=True)], object)
    ids = generator.integers(0, 2, 30).astype(np.uint8)
    row, col, height, width = (int(n) for n in generator.integers(1, 20, 4))
    found = Objects(geometry, ids).within(Window(row, col, height, width))
    meets = [
        n
        for n, ((x, y), (w, h)) in enumerate(zip(corners, sides, strict=True))
        if min(x + w, col + width) > max(x, col) and min(y + h, row + height) > max(y, row)
    ]
    assert shapely.equals(found.geometry, geometry[meets]).all()
    assert found.class_ids.tolist() == ids[meets].tolist()


def test_parts_are_gathered_by_their_feature() -> None:
    parts = np.array([box(0, 0, 2, 2), box(5, 5, 6, 6), Polygon(), box(0, 0, 3, 3), box(1, 1, 4, 4)], object)
    whole = gathered(parts, np.array([0, 2, 2, 3, 3]), 5)
    assert shapely.area(whole).tolist() == [4, 0, 1, 9 + 9 - 4, 0]  # overlapping parts count once
    assert shapely.is_valid(whole).all()
