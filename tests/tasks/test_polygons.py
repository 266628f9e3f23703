"""Polygons of label rasters, against GDAL's polygoniser and against the raster itself."""

import tracemalloc
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from rasterio.features import rasterize, shapes
from scipy import ndimage

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.semantic_segmentation.layers import polygoniser, rings
from quadrat.tasks.semantic_segmentation.layers.polygoniser import Polygoniser, Polygons

label_rasters = st.tuples(st.integers(1, 14), st.integers(1, 14)).flatmap(
    lambda shape: npst.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 1, 2, IGNORE]))
)
RING = np.array([[1, 1, 1, 1], [1, 0, 2, 1], [1, 2, 0, 1], [1, 1, 1, 1]], np.uint8)
"""A ring whose hole holds two classes that meet crosswise."""
TOUCHING = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]], np.uint8)
"""A component that meets itself at a corner, where its hole meets the outside."""
CHECKERS = np.indices((8, 9)).sum(0).astype(np.uint8) % 2
COMB = np.tile(np.array([[1, 0, 1, 0, 1]], np.uint8), (7, 1)) | (np.arange(7) == 6)[:, None]
"""Teeth that are apart until the last row unites them."""


def scores_of(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return scores that differ from pixel to pixel; NaN where there is no label."""
    scores = np.random.default_rng(7).random(labels.shape, np.float32)
    return np.where(labels == IGNORE, np.float32(np.nan), scores)


def polygonise(labels: NDArray[np.uint8], cuts: Sequence[int] = (), **options: int) -> Polygons:
    """Return all polygons of ``labels``, handed over in strips that begin at ``cuts``."""
    polygoniser = Polygoniser(**options)
    scores = scores_of(labels)
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(labels)}), len(labels)]
    parts = [polygoniser.add(top, labels[top:bottom], scores[top:bottom]) for top, bottom in pairwise(edges)]
    return Polygons.joined([*parts, polygoniser.close()])


def as_set(found: Polygons) -> set[tuple[bytes, int]]:
    normal = shapely.to_wkb(shapely.normalize(found.geometry))
    return set(zip(normal, found.class_id.tolist(), strict=True))


def rasterised(found: Polygons, shape: tuple[int, int]) -> NDArray[Any]:
    if not len(found):
        return np.full(shape, IGNORE, np.uint8)
    burnt: NDArray[Any] = rasterize(
        zip(found.geometry, found.class_id.tolist(), strict=True), shape, fill=IGNORE, dtype=np.uint8
    )
    return burnt


@given(label_rasters)
@example(RING)
@example(TOUCHING)
@example(TOUCHING[:, ::-1])
@example(CHECKERS)
@example(COMB)
def test_polygons_are_those_of_gdal(labels: NDArray[np.uint8]) -> None:
    expected = {
        (shapely.to_wkb(shapely.normalize(shapely.geometry.shape(geometry))), int(value))
        for geometry, value in shapes(labels, mask=labels != IGNORE, connectivity=4)
    }
    assert as_set(polygonise(labels)) == expected


@given(label_rasters)
@example(RING)
@example(TOUCHING)
@example(TOUCHING[:, ::-1])
@example(CHECKERS)
def test_burn_back_to_the_raster(labels: NDArray[np.uint8]) -> None:
    found = polygonise(labels)
    np.testing.assert_array_equal(rasterised(found, labels.shape), labels)
    assert shapely.is_valid(found.geometry).all()
    np.testing.assert_array_equal(shapely.area(found.geometry), found.pixels)
    assert found.pixels.sum() == (labels != IGNORE).sum()


@given(label_rasters, st.lists(st.integers(1, 13)), st.integers(1, 5))
@example(COMB, [1, 2, 3, 4, 5, 6], 1)
@example(TOUCHING, [1, 2, 3], 1)
@example(RING, [1, 2, 3], 1)
def test_polygons_do_not_depend_on_the_strips(labels: NDArray[np.uint8], cuts: list[int], least: int) -> None:
    once, often = polygonise(labels, min_pixels=least), polygonise(labels, cuts, min_pixels=least)
    np.testing.assert_array_equal(shapely.to_wkb(often.geometry), shapely.to_wkb(once.geometry))
    for name in ("class_id", "score", "pixels"):
        np.testing.assert_array_equal(getattr(often, name), getattr(once, name))
        assert getattr(often, name).dtype == getattr(once, name).dtype


@given(label_rasters, st.lists(st.integers(1, 13)))
def test_score_is_the_mean_over_the_pixels(labels: NDArray[np.uint8], cuts: list[int]) -> None:
    scores = scores_of(labels)
    expected = []
    for class_id in np.unique(labels[labels != IGNORE]):
        components, count = ndimage.label(labels == class_id)
        for number in range(1, count + 1):
            inside = components == number
            expected.append((class_id, inside.sum(), float(scores[inside].astype(np.float64).mean())))
    found = polygonise(labels, cuts)
    got = list(zip(found.class_id, found.pixels, found.score, strict=True))
    assert sorted(row[:2] for row in got) == sorted(row[:2] for row in expected)
    np.testing.assert_allclose(sorted(row[2] for row in got), sorted(row[2] for row in expected), atol=2e-7)


@given(label_rasters, st.integers(2, 9))
def test_small_components_are_dropped(labels: NDArray[np.uint8], least: int) -> None:
    every, some = polygonise(labels), polygonise(labels, [2, 5], min_pixels=least)
    large = every.pixels >= least
    np.testing.assert_array_equal(some.geometry, every.geometry[large])
    np.testing.assert_array_equal(some.score, every.score[large])


def test_large_strips_are_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = (ndimage.gaussian_filter(np.random.default_rng(3).random((300, 200)), 3) * 40).astype(np.uint8) % 3
    whole = polygonise(labels)
    monkeypatch.setattr(polygoniser, "AT_ONCE", 1_000)
    parts = polygonise(labels)
    assert len(whole) > 100
    np.testing.assert_array_equal(shapely.to_wkb(parts.geometry), shapely.to_wkb(whole.geometry))
    np.testing.assert_array_equal(rasterised(whole, labels.shape), labels)


def test_a_hole_is_a_hole_and_its_filling_a_polygon() -> None:
    found = polygonise(RING, [2])
    shell = found.geometry[found.pixels == 12][0]
    assert shell.equals(shapely.box(0, 0, 4, 4) - shapely.box(1, 1, 3, 3))
    assert sorted(found.class_id.tolist()) == [0, 0, 1, 2, 2]


def test_a_component_is_given_as_soon_as_it_has_ended() -> None:
    labels = np.full((6, 4), IGNORE, np.uint8)
    labels[1:3, 1] = 1
    polygoniser = Polygoniser()
    scores = np.ones((2, 4), np.float32)
    counts = [len(polygoniser.add(row, labels[row : row + 2], scores)) for row in (0, 2, 4)]
    assert counts == [0, 1, 0]
    assert len(polygoniser.close()) == 0


def test_rows_left_out_and_columns_before_the_strips_are_no_ones() -> None:
    polygoniser = Polygoniser(col=10)
    strip = np.zeros((2, 3), np.uint8)
    parts = [polygoniser.add(row, strip, np.ones(strip.shape, np.float32)) for row in (5, 7, 12)]
    found = Polygons.joined([*parts, polygoniser.close()])
    assert [geometry.bounds for geometry in found.geometry] == [(10, 5, 13, 9), (10, 12, 13, 14)]


def test_nothing_gives_nothing_with_its_types() -> None:
    for found in (Polygoniser().close(), polygonise(np.full((3, 3), IGNORE, np.uint8))):
        assert [len(found), found.class_id.dtype, found.score.dtype, found.pixels.dtype] == [0, "u1", "f4", "i8"]


@pytest.mark.parametrize(
    ("row", "shape", "problem"), [(1, (2, 4), "top to bottom"), (2, (2, 5), "of one width"), (2, (2, 4), "finite")]
)
def test_refuses_strips_that_do_not_follow(row: int, shape: tuple[int, int], problem: str) -> None:
    polygoniser = Polygoniser()
    polygoniser.add(0, np.zeros((2, 4), np.uint8), np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match=problem):
        polygoniser.add(row, np.zeros(shape, np.uint8), np.full(shape, np.nan, np.float32))


def test_corners_too_far_apart_for_one_sort_key() -> None:
    squares = [(0, 0), (2**30, 2**28), (5, 2**28)]
    owner, corners = [], []
    for number, (row, col) in enumerate(squares):
        kinds = {
            (0, 0): rings.DOWN | rings.RIGHT,
            (0, 1): rings.DOWN | rings.LEAVES_VERTICALLY,
            (1, 0): rings.RIGHT | rings.LEAVES_VERTICALLY,
            (1, 1): 0,
        }
        for (down, right), kind in kinds.items():
            owner.append(number)
            corners.append(int(rings.pack(np.int64(row + down), np.int64(col + right))) | kind)
    found = rings.polygons(np.array(owner), np.array(corners), len(squares))
    assert [geometry.bounds for geometry in found] == [(col, row, col + 1, row + 1) for row, col in squares]


def test_memory_does_not_grow_with_the_height() -> None:
    def peak(strips: int) -> int:
        labels = (ndimage.gaussian_filter(np.random.default_rng(1).random((64, 256)), 1.5) > 0.5).astype(np.uint8)
        labels[-1] = IGNORE  # components end here, as they do in a scene
        scores = np.ones(labels.shape, np.float32)
        polygoniser = Polygoniser()
        tracemalloc.start()
        for number in range(strips):
            polygoniser.add(64 * number, labels, scores)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2)
    assert peak(80) < 1.2 * peak(8)
