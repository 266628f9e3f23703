"""Memory that is used again: never while anything looks at it."""

import errno
import gc
import mmap
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from quadrat.geo.grids.windows import whole
from quadrat.runtime import memory
from quadrat.runtime.memory import Memory
from tests.ground import opened, write_raster


def place(array: NDArray[np.generic]) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_that_nothing_uses_is_given_again() -> None:
    pieces = Memory()
    first = pieces.empty((3, 5, 7), np.uint16)
    first[...] = 7
    held = place(first)
    second = pieces.empty((3, 5, 7), np.uint16)
    assert place(second) != held
    del first
    assert place(pieces.empty((105,), np.uint16)) == held


@pytest.mark.parametrize("view", [np.transpose, np.ravel, memoryview, lambda a: a[1:, 2], lambda a: a[..., None][::-1]])
def test_memory_that_a_view_still_uses_is_not_given_again(view: object) -> None:
    pieces = Memory()
    first = pieces.empty((4, 6), np.int32)
    held = place(first)
    left = view(first)  # type: ignore[operator]  # each takes an array
    del first
    second = pieces.empty((4, 6), np.int32)
    assert place(second) != held
    del left
    gc.collect()
    assert place(pieces.empty((4, 6), np.int32)) == held


@given(st.lists(st.tuples(st.integers(0, 5_000_000), st.booleans()), max_size=12))
def test_arrays_never_share_memory(asked: list[tuple[int, bool]]) -> None:
    pieces, held = Memory(), []
    for number, (size, kept) in enumerate(asked):
        array = pieces.empty((size,), np.uint8)
        array[:1], array[-1:] = number, number
        if kept:
            held.append((number, array))
        del array
    assert all((array[:1] == number).all() and (array[-1:] == number).all() for number, array in held)


def test_memory_may_be_let_go_by_another_thread() -> None:
    pieces = Memory()
    arrays = [pieces.empty((9,), np.uint8)]
    held = place(arrays[0])
    thread = Thread(target=arrays.clear)
    thread.start()
    thread.join()
    assert place(pieces.empty((9,), np.uint8)) == held


@pytest.mark.parametrize("bands", [1, 3])
def test_strips_and_tiles_take_the_memory_of_those_before(
    bands: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh: list[int] = []
    plain = memory._fresh
    monkeypatch.setattr(memory, "_fresh", lambda size: fresh.append(size) or plain(size))
    pixels = np.random.default_rng(1).integers(0, 9, (bands, 1024, 256), np.uint16)
    path = write_raster(tmp_path / "a.tif", pixels, tiled=True, blockxsize=64, blockysize=64)
    with opened(path, tuple("rgb"[:bands])) as raster:
        for strip in raster.strips(whole((1024, 256)), 64):
            assert (strip.values == pixels[(slice(None), *strip.window.slices())]).all()
            assert strip.valid.all()
            del strip
        assert len(fresh) == 2  # values, and where there are some
        for tile in raster.tiles(whole((1024, 256))):
            assert (tile.values == pixels[(slice(None), *tile.window.slices())]).all()
            del tile
        assert len(fresh) == 4


def test_a_system_without_large_pages_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(mmap.mmap):
        def madvise(self, *_: int) -> None:
            raise OSError(errno.EINVAL, "as kernels without large pages say")

    monkeypatch.setattr(memory.mmap, "mmap", Plain)
    array = Memory().empty((3 << 20,), np.uint8)
    array[:] = 7
    assert (array == 7).all()


def test_what_is_read_alone_is_numpys_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_fresh", lambda _: pytest.fail("memory of its own"))
    path = write_raster(tmp_path / "a.tif", np.ones((2, 9, 9), np.uint8))
    with opened(path, ("r", "g")) as raster:
        assert raster.read(raster.grid.area).values.sum() == raster.values(raster.grid.area, (0, 1)).sum() == 162
