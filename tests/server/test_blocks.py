"""Blocks show what the stage predict writes, are made once, and are kept whole or not at all."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from quadrat.geo.grids.windows import Window
from quadrat.server.blocks import blocks as module
from quadrat.server.blocks.blocks import Block, Blocks
from quadrat.server.blocks.cache import BlockCache
from quadrat.server.blocks.gallery import Served
from quadrat.server.blocks.making import BOUNDS, FIELD
from quadrat.server.blocks.stored import MAGIC, packed, unpacked
from quadrat.server.blocks.worker import BusyWorker, Worker
from quadrat.server.drawing.canvas import Canvas
from quadrat.server.drawing.layers import map_layers
from quadrat.server.drawing.warp import Target
from tests.ground import NORTH_UP, pixel_box, write_areas
from tests.server.kit import CASES, applied, blocks_of, ground, ready_for, served

RASTERS = [name for name in CASES if name in {"pixels", "values"}]
VECTORS = [name for name in CASES if name not in RASTERS]


def everywhere(blocks: Blocks, one: Served, seed: int) -> list[Block]:
    """Return all blocks of an image, in random order, some of them together."""
    windows = blocks.around(one, one.grid.area)
    order = np.random.default_rng(seed).permutation(len(windows))
    found: list[Block] = []
    for some in np.array_split(order, 4):
        found += blocks.get(one, "predicted", [windows[n] for n in some], None)
    return found


def area_of_interest(root: Path) -> tuple[str, ...]:
    areas = [pixel_box(13, 21, 141, 97), pixel_box(120, 77, 203, 171)]
    return (str(write_areas(root / "aoi.geojson", areas, to_crs="EPSG:4326")),)


@pytest.mark.parametrize("limited", [False, True], ids=["whole", "aoi"])
@pytest.mark.parametrize("case", RASTERS)
def test_blocks_hold_the_bytes_that_the_stage_writes(case: str, limited: bool, tmp_path: Path) -> None:
    ready = ready_for(case)
    one = served(ready, ground(tmp_path), area_of_interest(tmp_path) if limited else ())
    folder = applied(ready, one, tmp_path / "out")
    files = sorted(folder.glob("*.tif"))
    with blocks_of(ready, tmp_path / "cache") as blocks:
        found = everywhere(blocks, one, 1)
    assert len(found) == 3 * 4
    assert [file.stem for file in files] == (["labels", "scores", "uncertainty"] if case == "pixels" else ["values"])
    for file in files:
        with rasterio.open(file) as dataset:
            whole = dataset.read()
        made = np.zeros_like(whole)
        for block in found:
            made[:, *block.window.slices()] = block.arrays[file.stem]
        assert made.tobytes() == whole.tobytes()


@pytest.mark.parametrize("limited", [False, True], ids=["whole", "aoi"])
@pytest.mark.parametrize("case", VECTORS)
def test_features_of_blocks_are_those_that_the_stage_writes(case: str, limited: bool, tmp_path: Path) -> None:
    ready = ready_for(case)
    one = served(ready, ground(tmp_path), area_of_interest(tmp_path) if limited else ())
    (file,) = applied(ready, one, tmp_path / "out").glob("*.parquet")
    frame = geopandas.read_parquet(file)
    geometry = shapely.transform(frame.geometry.to_numpy(), lambda xy: np.column_stack(~NORTH_UP @ xy.T))
    wanted = {
        (*np.round(b, 3), int(c), float(np.float32(s)))
        for b, c, s in zip(shapely.bounds(geometry), frame["class_id"], frame["score"], strict=True)
    }
    with blocks_of(ready, tmp_path / "cache") as blocks:
        found = everywhere(blocks, one, 2)
    got: list[Any] = []
    for block in found:
        bounds = block.arrays[BOUNDS]
        cols, rows = (bounds[:, :2] + bounds[:, 2:]).T / 2
        w = block.window
        own = (cols >= w.col) & (cols < w.right) & (rows >= w.row) & (rows < w.bottom)
        for b, c, s in zip(bounds[own], *(block.arrays[FIELD + n][own] for n in ("class_id", "score")), strict=True):
            got.append((*np.round(b, 3), int(c), float(np.float32(s))))
    assert len(wanted) > 40
    assert len(got) == len(wanted)
    assert {*got} == wanted


def test_a_block_is_made_once_for_all_who_ask_at_once(tmp_path: Path) -> None:
    ready = ready_for("pixels")
    plain, calls = ready.loaded[0], []

    def slow(pixels: np.ndarray) -> Any:
        calls.append(len(pixels))
        time.sleep(0.02)
        return plain(pixels)

    vars(ready)["loaded"] = (slow, 3)
    one = served(ready, ground(tmp_path))
    with blocks_of(ready, tmp_path / "cache") as blocks:
        (window,) = blocks.around(one, Window(70, 70, 1, 1))
        alone = len(blocks.get(one, "predicted", [window], ["labels"]))
        once = sum(calls)
        blocks.cache.drop(next(iter(blocks.cache._sizes)))
        blocks._held.clear()
        threads = [
            threading.Thread(target=blocks.get, args=(one, "predicted", [window], ["labels"])) for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert alone == 1
        assert sum(calls) == 2 * once


def test_who_comes_when_the_queue_is_full_is_told_so_and_finds_the_block_later(tmp_path: Path) -> None:
    ready = ready_for("pixels")
    plain, goes_on = ready.loaded[0], threading.Event()

    def waits(pixels: np.ndarray) -> Any:
        assert goes_on.wait(20)
        return plain(pixels)

    vars(ready)["loaded"] = (waits, 3)
    one = served(ready, ground(tmp_path))
    with blocks_of(ready, tmp_path / "cache") as blocks:
        blocks.workers["predicted"] = Worker("narrow", 1)
        windows = blocks.around(one, one.grid.area)
        asking = threading.Thread(target=blocks.get, args=(one, "predicted", windows[:1], None))
        asking.start()
        while not blocks.workers["predicted"]._under_way:
            time.sleep(0.01)
        with pytest.raises(BusyWorker):
            blocks.get(one, "predicted", windows[1:4], None)
        goes_on.set()
        asking.join()
        assert len(blocks.get(one, "predicted", windows[:1], ["labels"])) == 1


def test_who_waits_too_long_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    ready = ready_for("pixels")
    plain = ready.loaded[0]
    vars(ready)["loaded"] = (lambda pixels: (time.sleep(0.2), plain(pixels))[1], 3)
    one = served(ready, ground(tmp_path))
    with blocks_of(ready, tmp_path / "cache") as blocks:
        window = blocks.around(one, one.grid.area)[0]
        with pytest.raises(BusyWorker):
            blocks.get(one, "predicted", [window], None)


def test_another_server_finds_the_blocks_and_makes_damaged_ones_anew(tmp_path: Path) -> None:
    ready, cache = ready_for("pixels"), tmp_path / "cache"
    one = served(ready, ground(tmp_path))
    with blocks_of(ready, cache) as blocks:
        first = {block.window: block.arrays["labels"].copy() for block in everywhere(blocks, one, 3)}
    files = sorted(cache.glob("*.block"))
    assert len(files) == len(first)
    (cache / ".part-of-a-killed-server").write_bytes(MAGIC)
    content = files[0].read_bytes()
    files[0].write_bytes(content[:-5])
    files[1].write_bytes(content[:60] + bytes([content[60] ^ 1]) + content[61:])
    files[2].write_bytes(b"")
    files[3].write_bytes(b"something else")
    calls: list[int] = []
    plain = ready.loaded[0]
    vars(ready)["loaded"] = (lambda pixels: (calls.append(1), plain(pixels))[1], 100)
    with blocks_of(ready, cache) as blocks:
        again = everywhere(blocks, one, 4)
    assert len(calls) == 4
    assert not list(cache.glob(".part*"))
    for block in again:
        np.testing.assert_array_equal(block.arrays["labels"], first[block.window])


def test_a_changed_image_has_other_blocks(tmp_path: Path) -> None:
    ready = ready_for("pixels")
    one = served(ready, ground(tmp_path))
    with blocks_of(ready, tmp_path / "cache") as blocks:
        window = blocks.around(one, one.grid.area)[0]
        before = blocks.get(one, "predicted", [window], ["labels"])[0].arrays["labels"]
        with rasterio.open(tmp_path / "image.tif", "r+") as file:
            file.write(255 - file.read())
        other = served(ready, tmp_path / "image.tif")
        assert other.stamp != one.stamp
        after = blocks.get(other, "predicted", [window], ["labels"])[0].arrays["labels"]
        assert (before != after).any()


def test_the_cache_keeps_what_was_used_last_within_its_bytes(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path, 1000)
    for number in range(9):
        cache.put(f"k{number}", bytes(100))
    assert cache.get("k0") == bytes(100)
    cache.put("large", bytes(300))
    cache.put("too-large", bytes(1001))
    assert cache.get("k0")
    assert [cache.get(f"k{n}") is None for n in (1, 2, 3)] == [True, True, False]
    assert cache.size == sum(file.stat().st_size for file in tmp_path.iterdir()) <= 1000
    smaller = BlockCache(tmp_path, 450)
    assert smaller.size <= 450
    assert smaller.get("large")


def test_bytes_of_blocks_come_back_and_nothing_else_is_taken_for_them() -> None:
    arrays = {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.zeros((0, 4), np.uint8)}
    content = packed(arrays)
    found = unpacked(content)
    assert found is not None
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[name], values)
    only = unpacked(content, ["b"])
    assert only is not None
    assert only.keys() == {"b"}
    for place in range(len(content)):
        assert unpacked(content[:place]) is None
        assert unpacked(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]) is None


def test_a_worker_that_closes_lets_work_end_and_refuses_what_waits() -> None:
    worker, begun, goes_on = Worker("w", 4), threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        goes_on.wait(10)
        return "done"

    running, waiting = worker.submit("a", work), worker.submit("b", json.dumps)
    begun.wait(10)
    threading.Timer(0.1, goes_on.set).start()
    worker.close(10)
    assert running.result(0) == "done"
    assert isinstance(waiting.exception(0), BusyWorker)
    with pytest.raises(BusyWorker):
        worker.submit("c", work)


@pytest.mark.parametrize("case", VECTORS)
def test_tiles_draw_features_in_the_colours_of_their_classes(case: str, tmp_path: Path) -> None:
    ready = ready_for(case)
    one = served(ready, ground(tmp_path))
    task = ready.bundle.card.task
    (layer,) = (found for found in map_layers(task, ready.predict.layers).values() if found.kind == "features")
    assert one.grid.crs is not None
    target = Target(one.grid.crs, one.grid.transform @ Affine.scale(0.25), 4 * 190, 4 * 230)
    with blocks_of(ready, tmp_path / "cache") as blocks:
        found = [Canvas(blocks, task.classes, least).values(one, layer, target) for least in (0, 0.9)]
        features = blocks.get(one, "predicted", blocks.around(one, one.grid.area), None)
    assert found[0] is not None
    assert found[1] is not None
    drawn, few = (values[0] != 255 for values in found)
    assert {*np.unique(found[0])} <= {0, 1, 255}
    if case == "boxes":
        assert few.sum() < drawn.sum() / 2
        return
    assert {*np.unique(found[0])} == {0, 1, 255}
    for block in features:
        for bounds, class_id in zip(block.arrays[BOUNDS], block.arrays[FIELD + "class_id"], strict=True):
            left, top, right, bottom = (4 * bounds).astype(int)
            assert (found[0][0, top:bottom, left:right] == class_id).all()
