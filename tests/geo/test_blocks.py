"""Blocks hold each pixel of an area once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quadrat.geo.grids.blocks import Blocks
from quadrat.geo.grids.windows import Window, strips

sides = st.integers(1, 60)


@given(st.integers(-20, 20), st.integers(-20, 20), sides, sides, st.integers(1, 50), sides)
def test_parts_of_windows_hold_each_pixel_in_the_block_that_its_place_says(
    row: int, col: int, height: int, width: int, most: int, strip: int
) -> None:
    area = Window(row, col, height, width)
    blocks = Blocks.of(area, most)
    found = np.full(area.shape, -1)
    for window in strips(area, strip):
        for number, here in blocks.parts(window):
            part = found[window.slices(area)][here]
            assert (part == -1).all()
            part[...] = number
    rows, cols = np.meshgrid(np.arange(row, area.bottom), np.arange(col, area.right), indexing="ij")
    np.testing.assert_array_equal(found, blocks.numbers(rows, cols))
    assert blocks.side == 8 or height * width / blocks.side**2 <= most
    assert len(np.unique(found)) == np.prod(blocks.shape)


def test_one_block_holds_all() -> None:
    blocks = Blocks.one(Window(5, 7, 30, 11))
    assert blocks.shape == (1, 1)
    assert list(blocks.parts(Window(10, 8, 3, 4))) == [(0, (slice(0, 3), slice(0, 4)))]
