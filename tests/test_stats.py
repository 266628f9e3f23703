"""Statistics against NumPy, and independent of how the pixels come."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from quadrat.stats import BandStatistics, Tally

DTYPES = ["uint8", "int8", "uint16", "int16", "int32", "float32", "float64"]


def statistics(parts: list[np.ndarray], percentages: tuple[float, ...] = (0, 2, 50, 98, 100)) -> BandStatistics:
    tally = Tally(parts[0].dtype)
    for part in parts:
        tally.add(part)
    return tally.statistics("a", percentages, 16)


@st.composite
def values(draw: st.DrawFn) -> np.ndarray:
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    elements = arrays.from_dtype(dtype, allow_nan=False, allow_infinity=False)
    if dtype.kind == "f":
        elements = elements.filter(lambda v: v == 0 or 1e-6 < abs(v) < 1e6)
    return draw(arrays.arrays(dtype, st.integers(1, 60), elements=elements))


@given(values())
@settings(deadline=None, max_examples=60)
def test_as_numpy(data: np.ndarray) -> None:
    found = statistics([data])
    wide = data.astype(np.float64)
    assert found.count == data.size
    assert (found.min, found.max) == (wide.min(), wide.max())
    assert found.mean == pytest.approx(wide.mean(), rel=1e-9, abs=1e-9)
    assert found.std == pytest.approx(wide.std(), rel=1e-6, abs=1e-6)
    exact = data.dtype.kind in "iu" and data.dtype.itemsize <= 2
    for percentage, value in found.percentiles.items():
        expected = np.percentile(wide, float(percentage), method="inverted_cdf")
        assert value == (expected if exact else pytest.approx(expected, rel=0.01, abs=1e-30))
    assert sum(found.histogram) == data.size
    if exact:
        span = (wide.min(), wide.max())
        assert list(found.histogram) == np.histogram(wide, 16, span)[0].tolist()


@given(st.data(), st.sampled_from(["uint16", "int16", "float32"]))
@settings(deadline=None, max_examples=30)
def test_tallies_of_parts_merge_to_the_whole(data: st.DataObject, dtype: str) -> None:
    pixels = np.random.default_rng(data.draw(st.integers(0, 99))).normal(900, 300, 500).astype(dtype)
    cuts = sorted(data.draw(st.lists(st.integers(0, 500), max_size=5)))
    merged = Tally(pixels.dtype)
    for part in np.split(pixels, cuts):
        tally = Tally(pixels.dtype)
        tally.add(part)
        merged.merge(tally)
    whole = statistics([pixels])
    found = merged.statistics("a", (0, 2, 50, 98, 100), 16)
    if dtype == "float32":
        assert found.mean == pytest.approx(whole.mean, rel=1e-12)
        assert found.std == pytest.approx(whole.std, rel=1e-9)
        assert found.histogram == whole.histogram
    else:
        assert found == whole


def test_sums_of_many_large_integers_are_exact() -> None:
    pixels = np.full(100_000, 65_535, np.uint16)
    pixels[0] = 65_534
    found = statistics([pixels] * 50)
    n = 5_000_000
    assert found.mean == 65_535 - 50 / n
    assert found.std == pytest.approx(math.sqrt(50 / n - (50 / n) ** 2), rel=1e-12)
