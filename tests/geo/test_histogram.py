"""Counts of small whole numbers, against numpy's unique."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from quadrat.geo.statistics.histogram import PAIRED, PIECE, added, histogram, occurrences

SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=9)


@given(st.data(), st.sampled_from(["uint8", "int8", "uint16", "int16"]))
def test_each_value_is_counted(data: st.DataObject, dtype: str) -> None:
    values = data.draw(arrays.arrays(dtype, SHAPES))
    low = np.iinfo(dtype).min
    found = histogram(values)
    largest = int(values.max()) + 1 if values.size else 0
    assert found.size == (largest if dtype == "uint16" else 256**values.itemsize)
    seen, counts = np.unique(values, return_counts=True)
    assert {n + low: found[n] for n in np.flatnonzero(found).tolist()} == dict(zip(seen.tolist(), counts, strict=True))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_histogram_does_not_depend_on_pieces_and_strides(dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 200, (3, PIECE - 1), dtype)[:, ::2]
    found = added(histogram(values), np.zeros(256, np.int64))
    assert (found == np.bincount(values.ravel(), minlength=256)).all()


@pytest.mark.parametrize("count", [2, 3, 12, 255])
def test_occurrences_leave_out_what_is_beyond(count: int) -> None:
    values = np.random.default_rng(count).integers(0, 256, (7, 11), np.uint8)
    assert occurrences(values, count).tolist() == np.bincount(values.ravel(), minlength=256)[:count].tolist()


@pytest.mark.parametrize("size", [PAIRED - 1, PAIRED, PAIRED + 1, 2**16 + 1])
@pytest.mark.parametrize(("lowest", "highest"), [(0, 0), (0, 8), (80, 81), (0, 255), (-128, 127)])
def test_bytes_are_counted_alike_one_by_one_and_in_pairs(size: int, lowest: int, highest: int) -> None:
    dtype = "uint8" if lowest >= 0 else "int8"
    values = np.random.default_rng(size).integers(lowest, highest + 1, size).astype(dtype)
    low = np.iinfo(dtype).min
    assert (histogram(values) == np.bincount(values.astype(np.int64) - low, minlength=256)).all()
