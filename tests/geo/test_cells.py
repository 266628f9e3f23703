"""Cells: what they share with polygons, against a loop over every pair; and where they lie."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from quadrat.geo.grids.cells import (
    BAND,
    Pieces,
    as_cells,
    bands,
    boxes,
    centred,
    clipped,
    frame,
    lattice,
    middle,
    painted,
    pixel_counts,
)
from quadrat.geo.grids.windows import Window, cover, strips

windows = st.builds(Window, st.integers(-70, 70), st.integers(-70, 70), st.integers(1, 90), st.integers(1, 90))
some_cells = st.lists(windows, min_size=1, max_size=12).map(as_cells)


@st.composite
def polygons(draw: st.DrawFn) -> np.ndarray:
    """Draw areas that may overlap, hold holes and parts, reach over all cells, or be empty."""
    generator = np.random.default_rng(draw(st.integers(0, 999)))
    shapes = []
    for kind in draw(st.lists(st.sampled_from(["star", "box", "ring", "two", "empty"]), max_size=8)):
        x, y = generator.uniform(-80, 80, 2)
        size = generator.uniform(1, 90)
        angles = np.sort(generator.uniform(0, 2 * np.pi, 9))
        radii = size * generator.uniform(0.2, 1, 9)
        star = shapely.Polygon(np.column_stack([x + radii * np.cos(angles), y + radii * np.sin(angles)]))
        square = shapely.box(round(x), round(y), round(x + size) + 1, round(y + size) + 1)
        made = {
            "star": star.buffer(0),
            "box": square,
            "ring": square.difference(shapely.buffer(square, -0.2 * size)),
            "two": shapely.union(square, shapely.box(x - 40, y, x - 20, y + 3)),
            "empty": shapely.Polygon(),
        }
        shapes.append(made[kind])
    return np.array(shapes, object)


@given(some_cells, polygons())
def test_pieces_are_the_intersections_of_every_pair(cells: np.ndarray, areas: np.ndarray) -> None:
    pieces = Pieces.of(cells, areas)
    found = {(c, o): (g, a) for c, o, g, a in zip(pieces.cell, pieces.owner, pieces.geometry, pieces.area, strict=True)}
    assert len(found) == len(pieces.cell)
    for c, square in enumerate(boxes(cells)):
        for o, area in enumerate(areas):
            shared = square.intersection(area)
            if shared.area > 1e-9:
                piece, size = found.pop((c, o))
                assert size == pytest.approx(shared.area)
                assert piece.symmetric_difference(shared).area == pytest.approx(0, abs=1e-6)
    assert all(size < 1e-6 for _, size in found.values())


@given(some_cells, polygons(), st.integers(1, 3))
def test_what_a_group_covers_is_its_union(cells: np.ndarray, areas: np.ndarray, groups: int) -> None:
    group = np.arange(len(areas)) % groups
    pieces = Pieces.of(cells, areas)
    covered = pieces.covered(group[pieces.owner], groups)
    assert covered.shape == (len(cells), groups)
    for c, square in enumerate(boxes(cells)):
        for number in range(groups):
            together = shapely.union_all(areas[group == number])
            assert covered[c, number] == pytest.approx(square.intersection(together).area, abs=1e-6)


@given(windows, st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_what_of_each_cell_lies_on_the_grid_counts_once_where_its_centre_does(
    grid: Window, size: int, height: int, seed: int
) -> None:
    counted = np.random.default_rng(seed).random(grid.shape) < 0.7
    found = []
    for strip in strips(grid, height):
        cells = clipped(lattice(strip, size), grid)
        found += cells[centred(cells, counted[strip.slices(grid)], strip)].tolist()
    expected = []
    for row in range(-120, 180, size):
        for col in range(-120, 180, size):
            top, left = (max(start // size * size, first) for start, first in ((row, grid.row), (col, grid.col)))
            bottom, right = min(row // size * size + size, grid.bottom), min(col // size * size + size, grid.right)
            if top < bottom and left < right:
                middle_row, middle_col = (top + bottom) // 2 - grid.row, (left + right) // 2 - grid.col
                expected += [[left, top, right, bottom]] * bool(counted[middle_row, middle_col])
    assert sorted(found) == sorted(expected)


def test_a_cell_beside_the_grid_or_with_its_centre_beside_the_mask_counts_nowhere() -> None:
    cells = clipped(as_cells([Window(-9, 0, 9, 9), Window(0, 12, 9, 9), Window(0, 6, 9, 9)]), Window(0, 0, 12, 12))
    assert centred(cells, np.ones((12, 9), bool), Window(0, 0, 12, 9)).tolist() == [False, False, False]
    assert centred(cells, np.ones((12, 10), bool), Window(0, 0, 12, 10)).tolist() == [False, False, True]


@given(windows, st.integers(1, 30), st.integers(0, 30), st.integers(1, 30))
def test_windows_that_cover_an_area_put_their_cells_on_every_pixel(
    area: Window, size: int, context: int, stride: int
) -> None:
    from quadrat.geo.grids.cells import margin

    window = size + context
    plan = cover(area, window, min(stride, size), margin(window, size))
    cells = as_cells([middle(w, size) for w in plan])
    assert tuple(cells[0, :2]) == (area.col, area.row)
    ids = np.zeros(len(cells), np.uint8)
    assert (painted(cells, ids, area, 255) == 0).all()


@pytest.mark.parametrize(("window", "size", "first"), [(8, 8, 0), (9, 3, 3), (8, 3, 3), (7, 4, 2), (5, 1, 2)])
def test_a_cell_lies_in_the_middle_or_half_a_pixel_low_and_right(window: int, size: int, first: int) -> None:
    assert middle(Window(10, -5, window, window), size) == Window(10 + first, -5 + first, size, size)


@given(some_cells)
def test_bands_hold_each_cell_once_and_few_rows(cells: np.ndarray) -> None:
    cells = cells + np.array([0, 7, 0, 7]) * np.arange(len(cells))[:, None] * 50
    parts = list(bands(cells))
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(cells)))
    assert all(np.ptp(cells[part, 1]) < BAND for part in parts)
    assert not list(bands(cells[:0]))


@given(some_cells, st.integers(0, 99))
def test_pixels_of_cells_are_counted_and_painted_like_one_by_one(cells: np.ndarray, seed: int) -> None:
    around = frame(cells)
    ids = np.random.default_rng(seed).choice(np.array([0, 1, 2, 255], np.uint8), around.shape)
    counts = pixel_counts(cells, ids, around, 3)
    for (left, top, right, bottom), row in zip(cells, counts, strict=True):
        inner = ids[top - around.row : bottom - around.row, left - around.col : right - around.col]
        np.testing.assert_array_equal(row, [(inner == number).sum() for number in range(3)])
    window = Window(around.row + 3, around.col - 5, 40, 40)
    drawn = painted(cells, np.arange(len(cells), dtype=np.uint8), window, 255)
    rows, cols = np.mgrid[window.row : window.bottom, window.col : window.right] + 0.5
    expected = np.full(window.shape, 255)
    for number, (left, top, right, bottom) in enumerate(cells):
        expected[(cols > left) & (cols < right) & (rows > top) & (rows < bottom)] = number
    np.testing.assert_array_equal(drawn, expected)
