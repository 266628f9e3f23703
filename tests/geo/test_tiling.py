"""Cutting and pasting are each other's inverse, for any size, stride and edge."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quadrat.geo.grids.tiling import FLOOR, Blend, Blended, cut, reach, taper
from quadrat.geo.grids.windows import Window, cover, strips, whole


@dataclass(frozen=True)
class Strip:
    window: Window
    values: np.ndarray
    valid: np.ndarray


def strips_of(values: np.ndarray, valid: np.ndarray, area: Window, height: int) -> list[Strip]:
    return [Strip(w, values[(slice(None), *w.slices())], valid[w.slices()]) for w in strips(area, height)]


sizes = st.integers(1, 24)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[Window], int, int]:
    shape = draw(sizes), draw(sizes)
    size = draw(st.integers(1, 16))
    stride = draw(st.integers(1, size))
    padding = draw(st.integers(0, 10))
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    values = generator.integers(1, 1000, (2, *shape)).astype(np.float32)
    valid = generator.random(shape) > 0.2
    return values, valid, cover(whole(shape), size, stride, padding), draw(st.integers(1, 50)), stride


@given(scenes())
def test_windows_are_those_of_a_mirrored_array(scene: tuple[np.ndarray, np.ndarray, list[Window], int, int]) -> None:
    values, valid, windows, height, _ = scene
    far = 40
    mirrored = np.pad(values, ((0, 0), (far, far), (far, far)), mode="reflect")
    bounded = np.pad(valid, far, constant_values=False)
    source = strips_of(values, valid, reach(windows, valid.shape), height)
    pieces = list(cut(source, windows, valid.shape))
    assert [p.window for p in pieces] == windows
    for piece in pieces:
        w = piece.window
        rows, cols = slice(w.row + far, w.bottom + far), slice(w.col + far, w.right + far)
        np.testing.assert_array_equal(piece.values, mirrored[:, rows, cols])
        np.testing.assert_array_equal(piece.valid, bounded[rows, cols])


def held(rows: Blended) -> Blended:
    """Return rows that stand however long."""
    return Blended(rows.row, rows.col, rows.values.copy(), rows.covered.copy())


@given(scenes())
def test_paste_after_cut_is_the_identity(scene: tuple[np.ndarray, np.ndarray, list[Window], int, int]) -> None:
    values, valid, windows, height, stride = scene
    source = strips_of(values, valid, reach(windows, valid.shape), height)
    blend = Blend(whole(valid.shape), 2, windows[0].height, stride)
    rows = [held(r) for p in cut(source, windows, valid.shape) for r in blend.paste(p.window, p.values, p.valid)]
    rows += map(held, blend.close())
    assert [r.row for r in rows] == list(np.cumsum([0, *(r.covered.shape[0] for r in rows)])[:-1])
    covered = np.concatenate([r.covered for r in rows])
    np.testing.assert_array_equal(covered, valid)
    pasted = np.concatenate([r.values for r in rows], axis=1)
    np.testing.assert_allclose(pasted[:, valid], values[:, valid], rtol=1e-5)


def test_blending_is_the_naive_weighted_mean() -> None:
    generator = np.random.default_rng(1)
    shape, size = (37, 29), 12
    windows = cover(whole(shape), size, 5, 3)
    outputs = [generator.random((3, size, size), np.float32) for _ in windows]
    sums, weights = np.zeros((3, 200, 200)), np.zeros((200, 200))
    for window, output in zip(windows, outputs, strict=True):
        for y in range(size):
            for x in range(size):
                sums[:, window.row + y + 50, window.col + x + 50] += output[:, y, x] * taper(size)[y, x]
                weights[window.row + y + 50, window.col + x + 50] += taper(size)[y, x]
    blend = Blend(whole(shape), 3, size, 5)
    valid = np.ones((size, size), bool)
    rows = [held(r) for w, o in zip(windows, outputs, strict=True) for r in blend.paste(w, o, valid)]
    rows += map(held, blend.close())
    area = slice(50, 50 + shape[0]), slice(50, 50 + shape[1])
    expected = sums[:, area[0], area[1]] / weights[area]
    np.testing.assert_allclose(np.concatenate([r.values for r in rows], axis=1), expected, rtol=1e-4)


@pytest.mark.parametrize("shape", [(37, 29), (24, 36), (5, 7)])
def test_where_windows_do_not_overlap_pixels_are_those_of_their_window(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(1)
    values = generator.random((3, *shape), np.float32)
    valid = generator.random(shape) > 0.2
    windows = cover(whole(shape), 12, 12)
    blend = Blend(whole(shape), 3, 12, 12)
    source = strips_of(values, valid, reach(windows, shape), 10)
    rows = [held(r) for p in cut(source, windows, shape) for r in blend.paste(p.window, p.values, p.valid)]
    rows += map(held, blend.close())
    np.testing.assert_array_equal(np.concatenate([r.covered for r in rows]), valid)
    np.testing.assert_array_equal(np.concatenate([r.values for r in rows], axis=1), np.where(valid, values, 0))


def test_held_rows_do_not_grow_with_height() -> None:
    width, size = 64, 16
    windows = cover(Window(0, 0, 10_000, width), size, 8)
    blend = Blend(Window(0, 0, 10_000, width), 1, size, 8)
    valid = np.ones((size, size), bool)
    one = np.ones((1, size, size), np.float32)
    assert max(r.values.shape[1] for w in windows for r in blend.paste(w, one, valid)) <= size


def test_no_pixel_is_without_weight() -> None:
    assert taper(256).min() == pytest.approx(FLOOR)
    assert taper(1).shape == (1, 1)


def test_strips_are_asked_for_only_when_needed() -> None:
    asked = []
    shape = (100, 10)

    def source() -> object:
        for strip in strips_of(np.zeros((1, *shape)), np.ones(shape, bool), whole(shape), 10):
            asked.append(strip.window.row)
            yield strip

    pieces = cut(source(), cover(whole(shape), 10, 10), shape)
    next(pieces)
    assert asked == [0]
