"""The chip store gives back what was put in, and says what it was made for."""

import pickle
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
from affine import Affine
from rasterio.crs import CRS

from quadrat.chips import store, writer
from quadrat.chips.store import About, ground_of, open_chips, write_index
from quadrat.chips.writer import SceneChips
from quadrat.errors import ChipError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.geo.sources.bands import Band
from tests.ground import NORTH_UP, UTM

GRID = Grid(UTM, NORTH_UP, (100, 100))
BAND = Band(name="a", dtype="uint16", unit="DN", scale=1.0, offset=0.0, nodata=None)


def about(*classes: str) -> About:
    return About(bands=(BAND,), classes=classes, size=8)


def fill(folder: Path, counts: dict[str, int], split: str = "train") -> dict[str, list[np.ndarray]]:
    generator = np.random.default_rng(0)
    held: dict[str, list[np.ndarray]] = {"pixels": [], "classes": []}
    for scene, count in counts.items():
        with SceneChips(folder, scene, split, GRID, about("x", "y")) as scene_chips:
            for number in range(count):
                pixels = generator.integers(0, 60_000, (1, 8, 9), np.uint16)[..., :8]  # as windows of a strip are
                classes = generator.integers(0, 2, (8, 8), np.uint8)
                window = Window(number, 2 * number, 8, 8)
                scene_chips.append(window, pixels, {"classes": classes}, 1.0, np.bincount(classes.ravel(), minlength=2))
                held["pixels"].append(pixels)
                held["classes"].append(classes)
    write_index(folder, list(counts))
    return held


@pytest.mark.parametrize(("left", "west", "east"), [(815_000, 179.95, -179.84), (500_000, 177.0, 177.2)])
def test_the_ground_of_chips_across_180_degrees_is_narrow(tmp_path: Path, left: int, west: float, east: float) -> None:
    grid = Grid(CRS.from_epsg(32760), Affine(100, 0, left, 0, -100, 8_200_000), (8, 220))
    with SceneChips(tmp_path, "s", "train", grid, about("x")) as scene_chips:
        for col in (0, 110, 212):
            pixels, classes = np.zeros((1, 8, 8), np.uint16), np.zeros((8, 8), np.uint8)
            scene_chips.append(Window(0, col, 8, 8), pixels, {"classes": classes}, 1.0, np.array([64]))
    write_index(tmp_path, ["s"])
    found = ground_of(tmp_path, "train")
    assert found is not None
    np.testing.assert_allclose(found, (west, -16.27, east, -16.26), atol=0.06)
    assert ground_of(tmp_path, "test") is None


def test_chips_come_back_in_any_order_from_several_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SHARD_BYTES", 3 * 8 * 8 * 2)
    held = fill(tmp_path, {"s": 7, "t": 1, "u": 5})
    assert len(list((tmp_path / "s").glob("pixels-*.npy"))) == 3
    chips = open_chips(tmp_path, "train", ("x", "y"), ("a",))
    assert len(chips) == 13
    order = np.random.default_rng(1).permutation(13)
    pixels, target = chips.read(order)
    np.testing.assert_array_equal(pixels, np.stack(held["pixels"])[order])
    np.testing.assert_array_equal(target["classes"], np.stack(held["classes"])[order])
    assert chips.class_counts().sum() == 13 * 64
    assert chips.index.crs.to_epsg() == 4326
    shard = np.load(tmp_path / "s" / "pixels-000.npy")  # plain .npy: any program reads it
    assert shard.shape == (3, 1, 8, 8)


def test_chips_go_to_other_processes_without_their_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fill(Path("store"), {"s": 17, "t": 5})
    chips = open_chips(Path("store"), "train", ("x", "y"), ("a",))
    sent = pickle.dumps(chips)
    assert len(sent) < 1000 < chips.shards[0]["pixels"].nbytes
    monkeypatch.chdir("/")
    there, order = pickle.loads(sent), np.arange(22)[::-1]  # noqa: S301 of this test
    np.testing.assert_array_equal(there.read(order)[0], chips.read(order)[0])


def test_targets_of_any_length_come_back_filled_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SHARD_BYTES", 2 * 8 * 8 * 2)
    generator = np.random.default_rng(0)
    held = [generator.random((count, 5), np.float32) for count in (0, 3, 1, 0, 0, 4, 2)]
    with SceneChips(tmp_path, "s", "train", GRID, about("boxes_x"), {"boxes"}) as chips:
        for number, boxes in enumerate(held):
            pixels = np.full((1, 8, 8), number, np.uint16)
            chips.append(Window(0, number, 8, 8), pixels, {"boxes": boxes}, 1.0, np.array([len(boxes)]))
    write_index(tmp_path, ["s"])
    found = open_chips(tmp_path, "train", ("boxes_x",), ("a",))
    assert found.class_counts().tolist() == [10]
    for order in ([0, 1, 2, 3, 4, 5, 6], [5, 1, 1], [0, 3], [6]):
        pixels, target = found.read(np.array(order))
        assert pixels[:, 0, 0, 0].tolist() == order
        assert target["boxes"].shape == (len(order), max(len(held[n]) for n in order), 5)
        for row, number in zip(target["boxes"], order, strict=True):
            np.testing.assert_array_equal(row[: len(held[number])], held[number])
            assert np.isnan(row[len(held[number]) :]).all()


def test_targets_of_one_value_a_chip_come_back(tmp_path: Path) -> None:
    with SceneChips(tmp_path, "s", "train", GRID, about("x")) as chips:
        for number in range(4):
            chips.append(Window(0, number, 8, 8), np.ones((1, 8, 8)), {"cell": np.array(number)}, 1.0, np.array([1]))
    write_index(tmp_path, ["s"])
    _, target = open_chips(tmp_path, "train", ("x",), ("a",)).read(np.array([3, 0, 2]))
    assert target["cell"].tolist() == [3, 0, 2]


def test_a_scene_without_chips(tmp_path: Path) -> None:
    fill(tmp_path, {"s": 0, "t": 2})
    assert len(open_chips(tmp_path, "train", ("x", "y"), ("a",))) == 2


def test_each_row_of_an_index_is_copied_twice_at_most_for_any_number_of_scenes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied, concat = [], pd.concat

    def counted(frames: list[pd.DataFrame], **options: Any) -> pd.DataFrame:
        copied.extend(map(len, frames) if "ignore_index" in options else ())  # geopandas joins columns
        return concat(frames, **options)

    names = [f"s{number:02}" for number in range(20)]
    fill(tmp_path, {name: number % 3 for number, name in enumerate(names)})
    monkeypatch.setattr(store, "TOGETHER", 2)
    monkeypatch.setattr(pd, "concat", counted)
    write_index(tmp_path, names)
    rows = open_chips(tmp_path, "train", ("x", "y"), ("a",)).index
    assert rows["scene"].tolist() == [name for number, name in enumerate(names) for _ in range(number % 3)]
    assert len(rows) < sum(copied) <= 2 * len(rows)


def test_a_store_of_other_classes_bands_or_splits_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, {"s": 2})
    with pytest.raises(ChipError, match="other classes"):
        open_chips(tmp_path, "train", ("x", "z"), ("a",))
    with pytest.raises(ChipError, match="other bands"):
        open_chips(tmp_path, "train", ("x", "y"), ("b",))
    with pytest.raises(ChipError, match="no chip of split 'validation'"):
        open_chips(tmp_path, "validation", ("x", "y"), ("a",))


def test_a_store_without_its_index_is_not_one(tmp_path: Path) -> None:
    fill(tmp_path, {"s": 2})
    (tmp_path / "index.parquet").unlink()
    with pytest.raises(ChipError, match="no complete chip store"):
        open_chips(tmp_path, "train", ("x", "y"), ("a",))


def test_chips_without_a_place_on_earth_have_none_among_those_with_one(tmp_path: Path) -> None:
    for name, grid in (("photo", Grid(None, NORTH_UP, (9, 9))), ("tile", GRID), ("none", GRID)):
        with SceneChips(tmp_path, name, "train", grid, about("px_x")) as chips:
            if name != "none":
                chips.append(Window(0, 0, 8, 8), np.ones((1, 8, 8)), {}, 1.0, np.array([1]))
    write_index(tmp_path, ["photo", "tile", "none"])
    index = geopandas.read_parquet(tmp_path / "index.parquet")
    assert index.crs == "EPSG:4326"
    assert index.geometry.isna().tolist() == [True, False]
    assert index["px_x"].tolist() == [1, 1]
