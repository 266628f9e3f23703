"""Statistics against NumPy, and independent of how the pixels come."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from quadrat.geo.statistics.band_statistics import BandStatistics, Tally

DTYPES = ["uint8", "int8", "uint16", "int16", "int32", "uint32", "int64", "uint64", "float32", "float64"]


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
def test_statistics_are_those_of_numpy(data: np.ndarray) -> None:
    found = statistics([data])
    wide = data.astype(np.float64)
    assert found.count == data.size
    assert (found.min, found.max) == (wide.min(), wide.max())
    assert found.mean == pytest.approx(wide.mean(), rel=1e-9, abs=1e-9)
    spacing = np.spacing(abs(wide).max()) if data.dtype.itemsize > 4 else 0  # NumPy rounds them to float64
    assert found.std == pytest.approx(wide.std(), rel=1e-6, abs=max(1e-6, spacing))
    for percentage, value in found.percentiles.items():
        assert value == np.percentile(data, float(percentage), method="inverted_cdf")
    assert sum(found.histogram) == data.size
    if data.dtype.itemsize <= 2:
        span = (wide.min(), wide.max())
        assert list(found.histogram) == np.histogram(wide, 16, span)[0].tolist()


@given(st.data(), st.sampled_from(["uint16", "int16", "float32"]))
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


EXTREMES = [
    ("float32", [3e38]), ("float32", [float(np.finfo(np.float32).min)]), ("float32", [-3.4e38, 3.4e38]),
    ("int64", [10**17]),
    ("int64", [1_700_000_000_000_000_000 + n for n in range(9)]), ("int64", [-(2**63), 2**63 - 1]),
    ("uint64", [2**64 - 1]), ("uint64", [0, 2**64 - 1]), ("float64", [1e17, 1e17 + 16]),
    ("int32", [-(2**31), 2**31 - 1]),
    ("float32", [1e-45, 3e-45]), ("float64", [0.1 + 0.2, 0.3]),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "each"), EXTREMES)
@pytest.mark.parametrize("grouping", [1, 2, 7])
def test_extreme_values_have_exact_statistics(dtype: str, each: list[float], grouping: int) -> None:
    pixels = np.array(each * 50, dtype)
    known = sorted(pixels.tolist())
    found = statistics(np.array_split(pixels, grouping), (1, 50, 99))
    mean = sum(map(Fraction, known)) / len(known)
    variance = sum((Fraction(value) - mean) ** 2 for value in known) / len(known)
    assert (found.count, found.min, found.max) == (len(known), float(known[0]), float(known[-1]))
    assert found.mean == (float(mean) if pixels.dtype.kind in "iu" else pytest.approx(float(mean), rel=1e-15))
    assert found.std == pytest.approx(math.sqrt(variance), rel=1e-6, abs=abs(float(mean)) * 1e-15)
    assert [*found.percentiles.values()] == [float(known[math.ceil(p / 100 * len(known)) - 1]) for p in (1, 50, 99)]
    span = Fraction(known[-1]) - Fraction(known[0])
    places = [min(15, int((Fraction(v) - Fraction(known[0])) / span * 16)) if span else 8 for v in known]
    assert list(found.histogram) == [places.count(place) for place in range(16)]


@given(st.data(), st.sampled_from(["int32", "uint32", "int64", "float32", "float64"]))
@settings(deadline=None, max_examples=8)
def test_a_distribution_of_many_values_depends_on_no_grouping(data: st.DataObject, dtype: str) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 99)))
    pixels = (generator.normal(290, data.draw(st.sampled_from([0.1, 20, 1e5])), 100_000) * 1000).astype(np.float64)
    pixels = (abs(pixels) if dtype == "uint32" else pixels).astype(dtype)
    cuts = sorted(data.draw(st.lists(st.integers(0, pixels.size), max_size=4)))
    whole = statistics([pixels])
    merged = statistics([part for part in np.split(generator.permutation(pixels), cuts) if part.size])
    assert (merged.percentiles, merged.histogram) == (whole.percentiles, whole.histogram)
    for percentage, value in whole.percentiles.items():
        expected = np.percentile(pixels, float(percentage), method="inverted_cdf")
        assert value == pytest.approx(float(expected), rel=1e-3, abs=float(np.ptp(pixels)) / 1000)
