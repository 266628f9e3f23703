"""Of several labels, the first that says something of a pixel counts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from rasterio.crs import CRS
from rasterio.features import rasterize
from shapely.geometry import Polygon

from quadrat.errors import LabelError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.labels.labels import LabelSource, open_labels
from tests.ground import NORTH_UP, UTM, legend, pixel_box, write_areas, write_raster

GRID = Grid(CRS.from_string(UTM), NORTH_UP, (40, 50))
KEY = legend(wood=["wood", "1"], lake=["lake", "2"], rest=["0"])
SOURCE: TypeAdapter[Any] = TypeAdapter(LabelSource)


def vector(path: Path, **options: Any) -> Any:
    return SOURCE.validate_python({"kind": "vector", "path": str(path), "field": "kind", **options}, strict=False)


def raster(path: Path, **options: Any) -> Any:
    return SOURCE.validate_python({"kind": "raster", "path": str(path), "values": "ids", **options}, strict=False)


@given(st.data())
def test_the_first_that_says_something_counts(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder, generator = tmp_path_factory.mktemp("labels"), np.random.default_rng(data.draw(st.integers(0, 99)))
    ids = generator.integers(0, 4, GRID.shape).astype(np.uint8)  # 3: nodata
    areas = [
        Polygon(generator.uniform((-5, -5), (55, 45), (3, 2)) @ np.diag([10, -10]) + (330_000, 5_822_040))
        for _ in range(5)
    ]
    kinds = generator.choice(["wood", "lake"], 5).tolist()
    drawn = [(a, KEY.aliases[k]) for a, k in zip(areas, kinds, strict=True)]
    maps = {
        "r": np.array([2, 0, 1, 255])[ids],
        "v": rasterize(drawn, GRID.shape, fill=255, transform=NORTH_UP, dtype="uint8"),
        "b": rasterize([pixel_box(20, 0, 30, 40)], GRID.shape, fill=255, default_value=1, transform=NORTH_UP),
    }
    sources = {
        "r": raster(write_raster(folder / "r.tif", ids[None], nodata=3)),
        "v": vector(write_areas(folder / "v.gpkg", areas, {"kind": kinds})),
        "b": vector(write_areas(folder / "b.gpkg", [pixel_box(20, 0, 30, 40)]), field=None, default="lake"),
    }
    order = data.draw(st.permutations(["r", "v", "b"]).map(lambda names: names[: data.draw(st.integers(1, 3))]))
    closed = data.draw(st.booleans())
    last = sources[order[-1]].model_copy(update={"background": "rest" if closed else None})
    expected = np.full(GRID.shape, 2 if closed else 255)
    for row in range(40):
        for col in range(50):
            said = [maps[name][row, col] for name in order if maps[name][row, col] != 255]
            expected[row, col] = said[0] if said else expected[row, col]
    row, col = data.draw(st.integers(0, 35)), data.draw(st.integers(0, 45))
    window = Window(row, col, data.draw(st.integers(1, 40 - row)), data.draw(st.integers(1, 50 - col)))
    with open_labels([*(sources[name] for name in order[:-1]), last], GRID, KEY, "s") as labels:
        assert labels is not None
        np.testing.assert_array_equal(labels.class_ids(window, all_touched=False), expected[window.slices()])


def test_a_scene_without_labels_opens_none() -> None:
    with open_labels([], GRID, KEY, "s") as labels:
        assert labels is None


def test_each_of_several_must_lie_on_the_image(tmp_path: Path) -> None:
    here = vector(write_areas(tmp_path / "here.gpkg", [pixel_box(0, 0, 9, 9)], {"kind": ["wood"]}))
    ids = np.zeros((1, 40, 50), np.uint8)
    there = raster(write_raster(tmp_path / "there.tif", ids, NORTH_UP @ Affine.translation(99, 0)))
    with (
        pytest.raises(LabelError, match=r"no label lies on the image(.|\n)*there\.tif"),
        open_labels([here, there], GRID, KEY, "s"),
    ):
        pass
