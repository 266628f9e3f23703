"""Windows cover what they should, once or more, and nothing they shouldn't."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quadrat.geo.grids.windows import Window, cover, scatter, strips, tiles, whole

areas = st.builds(Window, st.integers(-5, 50), st.integers(-5, 50), st.integers(1, 90), st.integers(1, 90))


def test_a_window_has_pixels() -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        Window(0, 0, 0, 5)


@given(areas, st.integers(1, 40), st.data(), st.integers(0, 20))
def test_a_cover_covers_each_pixel_and_starts_no_window_in_vain(
    area: Window, size: int, data: st.DataObject, padding: int
) -> None:
    stride = data.draw(st.integers(1, size))
    windows = cover(area, size, stride, padding)
    assert windows == sorted(windows)
    far = 100
    seen = np.zeros((300, 300), int)
    for w in windows:
        seen[w.row + far : w.bottom + far, w.col + far : w.right + far] += 1
    inside = seen[area.row + far : area.bottom + far, area.col + far : area.right + far]
    assert inside.min() >= 1
    if stride == size and padding == 0:
        assert inside.max() == 1
        assert all(w.intersection(area) for w in windows)


@given(areas, st.integers(1, 40))
def test_strips_part_an_area_at_multiples_of_their_height(area: Window, height: int) -> None:
    parts = list(strips(area, height))
    assert sum(p.height for p in parts) == area.height
    assert all(p.row % height == 0 for p in parts[1:])
    assert all(p.height <= height for p in parts)
    assert [p.row for p in parts[1:]] == [p.bottom for p in parts[:-1]]


@given(areas, st.integers(1, 40), st.integers(1, 40))
def test_tiles_part_an_area_at_multiples_of_their_sides(area: Window, height: int, width: int) -> None:
    parts = list(tiles(area, height, width))
    assert parts == sorted(parts)
    assert sum(p.size for p in parts) == area.size
    assert all(p.intersection(area) == p for p in parts)
    for p in parts:  # none reaches over a multiple
        assert p.row // height == (p.bottom - 1) // height
        assert p.col // width == (p.right - 1) // width
    assert len({(p.row // height, p.col // width) for p in parts}) == len(parts)


@given(areas, st.integers(1, 120), st.integers(0, 10), st.integers(0, 9))
def test_scattered_windows_stay_within_the_grown_area(area: Window, size: int, padding: int, seed: int) -> None:
    windows = scatter(area, size, 20, np.random.default_rng(seed), padding)
    assert len(windows) == 20
    assert windows == sorted(windows)
    for w in windows:
        if size <= area.height + 2 * padding:
            assert area.row - padding <= w.row
            assert w.bottom <= area.bottom + padding
        else:
            assert w.row <= area.row - padding
            assert w.bottom >= area.bottom + padding
    assert windows == scatter(area, size, 20, np.random.default_rng(seed), padding)


def test_strides_that_leave_gaps_are_refused() -> None:
    with pytest.raises(ValueError, match="stride"):
        cover(whole((9, 9)), 4, 5)


@given(areas, areas)
def test_an_intersection_is_what_two_masks_share(one: Window, other: Window) -> None:
    masks = []
    for w in (one, other):
        mask = np.zeros((200, 200), bool)
        mask[w.row + 10 : w.bottom + 10, w.col + 10 : w.right + 10] = True
        masks.append(mask)
    shared = one.intersection(other)
    assert (masks[0] & masks[1]).sum() == (0 if shared is None else shared.height * shared.width)
    if shared:
        assert np.ones(one.shape)[shared.slices(one)].shape == shared.shape
