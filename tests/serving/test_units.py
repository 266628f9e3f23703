"""Values in other units become those that a model learnt from, and what is no value stays none."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from quadrat.errors import ModelError
from quadrat.geo.grids.windows import Window
from quadrat.geo.sources.bands import Band
from quadrat.scenes.image import Image
from quadrat.serving.units import InUnits, in_units
from tests.ground import image, write_raster


def band(name: str = "a", **options: object) -> Band:
    return Band.model_validate(
        {"name": name, "dtype": "uint16", "unit": "reflectance", "scale": 1e-4, "offset": 0.0, "nodata": 0.0, **options}
    )


MEANINGS = st.tuples(st.sampled_from([1.0, 1e-4, 2e-5, 0.5]), st.sampled_from([0.0, -0.1, 0.25]))


@given(MEANINGS, MEANINGS, st.lists(st.integers(1, 20_000), min_size=1))
def test_a_value_means_the_same_before_and_after(
    one: tuple[float, float], other: tuple[float, float], raw: list[int]
) -> None:
    stored, learnt = (band(dtype="float32", scale=scale, offset=offset, nodata=None) for scale, offset in (one, other))
    values = np.array(raw, np.float64)
    converted, known = in_units(values, stored, learnt)
    assert known.all()
    meant = values * stored.scale + stored.offset
    tolerance = 1e-6 * (abs(meant) + abs(learnt.offset) + abs(stored.offset))
    assert (abs(converted.astype(np.float64) * learnt.scale + learnt.offset - meant) <= tolerance).all()


def test_reflectance_becomes_the_whole_numbers_that_it_came_from() -> None:
    raw = np.arange(1, 65_536)
    converted, known = in_units((raw * 1e-4).astype(np.float32), band(dtype="float32", scale=1.0), band())
    np.testing.assert_array_equal(converted, raw)
    assert known.all()


def test_values_that_need_no_change_are_not_rounded() -> None:
    converted, known = in_units(np.array([0.1], np.float32), band(dtype="float32"), band())
    np.testing.assert_array_equal(converted, np.float32([0.1]))
    assert known.all()


def test_an_offset_is_taken_off() -> None:
    converted, _ = in_units(np.array([1000, 1500], np.uint16), band(offset=-0.1), band(nodata=None))
    np.testing.assert_array_equal(converted, [0, 500])


def test_no_value_is_the_models_no_value() -> None:
    values = np.array([65535, 0, 7], np.uint16)
    for nodata, expected in ((0.0, [0, 1, 7]), (9.0, [9, 0, 7]), (None, [np.nan, 0, 7])):
        converted, known = in_units(values, band(nodata=65535.0), band(nodata=nodata))
        np.testing.assert_array_equal(converted, expected)
        assert known.tolist() == [False, True, True]


def test_a_value_that_becomes_the_models_no_value_counts_as_the_next() -> None:
    values = np.array([0, 999, 1000, 1001], np.uint16)  # of Sentinel-2 since 2022: 1000 is a reflectance of 0
    converted, known = in_units(values, band(offset=-0.1), band())
    np.testing.assert_array_equal(converted, [0, -1, 1, 1])
    assert known.tolist() == [False, True, True, True]
    for dtype, nodata, beside in (
        ("uint8", 255.0, 254),
        ("int16", -32768.0, -32767),
        ("float32", -9999.0, np.nextafter(np.float32(-9999), np.float32(0))),
        ("float32", 0.0, np.finfo(np.float32).tiny),
        ("int32", 2.0**31 - 1, np.float32(2**31 - 256)),
    ):
        values = np.array([nodata * 2, 5], np.float64)
        stored = band(dtype="float64", scale=0.5, nodata=-77.0)
        converted, known = in_units(values, stored, band(dtype=dtype, scale=1.0, nodata=nodata))
        np.testing.assert_array_equal(converted, np.float32([beside, 2.5]))
        assert known.all()


def test_the_models_no_value_is_none_in_an_image_that_says_none() -> None:
    converted, known = in_units(np.array([0, 0.1], np.float32), band(dtype="float32", scale=1.0, nodata=None), band())
    np.testing.assert_array_equal(converted, [0, 1000])
    assert known.tolist() == [False, True]


def test_an_image_is_read_in_the_models_units(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(100, 4000, (2, 40, 60)).astype(np.uint16)
    pixels[0, :5] = 65535
    path = write_raster(tmp_path / "a.tif", pixels, nodata=65535)
    about = {"unit": "reflectance", "scale": 1e-4}
    learnt = (band("a", nodata=0.0), band("b", nodata=0.0, scale=2e-4))
    with InUnits(image(path, ("a", "b"), **about), learnt) as raster:
        strip = raster.read(Window(2, 3, 10, 20))
        values, valid = raster.overview(20)
    expected = np.stack([pixels[0], pixels[1] / 2])
    expected[0, :5] = 0
    np.testing.assert_array_equal(strip.values, expected[:, 2:12, 3:23])
    np.testing.assert_array_equal(strip.valid, np.broadcast_to(np.arange(2, 12)[:, None] >= 5, (10, 20)))
    assert values.shape == valid.shape == (2, 13, 20)
    assert valid[1].all()
    assert not valid[0, 0].any()


@pytest.mark.parametrize("nodata", [None, 0.0])
def test_what_a_mask_hides_is_the_models_no_value(tmp_path: Path, nodata: float | None) -> None:
    """Each band by its own mask; of a file without a nodata value, masks alone say what is none."""
    pixels = np.random.default_rng(0).integers(100, 4000, (2, 40, 60)).astype(np.uint16)
    sources = []
    for name, values, hidden in zip("ab", pixels, (slice(0, 5), slice(3, 9)), strict=True):
        path = write_raster(tmp_path / f"{name}.tif", values[None])
        with rasterio.open(path, "r+") as file, rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            mask = np.full(values.shape, 255, np.uint8)
            mask[hidden] = 0
            file.write_mask(mask)
        sources += image(path, (name,), unit="reflectance", scale=1e-4).sources
    learnt = (band("a", nodata=nodata, scale=2e-4), band("b", nodata=nodata))
    with InUnits(Image(sources=tuple(sources)), learnt) as raster:
        strip = raster.read(Window(2, 3, 20, 20))
        for side in (5, 9):  # other windows of some bands leave nothing behind
            raster.values(Window(0, 0, side, side), (0,))
        several = np.concatenate([each.values for each in raster.strips(raster.grid.area, 7, readers=3)], 1)
    expected = np.stack([pixels[0] / 2, pixels[1]])
    expected[0, :5] = expected[1, 3:9] = np.nan if nodata is None else nodata
    np.testing.assert_array_equal(strip.values, expected[:, 2:22, 3:23].astype(np.float32))
    np.testing.assert_array_equal(several, expected.astype(np.float32))
    np.testing.assert_array_equal(strip.valid, np.broadcast_to(np.arange(2, 22)[:, None] >= 9, (20, 20)))


def test_what_needs_no_change_is_not_touched(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.ones((1, 8, 8), np.uint16), nodata=0)
    with InUnits(image(path, unit="reflectance", scale=1e-4), (band(),)) as raster:
        assert raster.read(Window(0, 0, 8, 8)).values.dtype == raster.dtype == np.uint16


def test_another_unit_is_refused(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.ones((1, 8, 8), np.uint16))
    with pytest.raises(ModelError, match="band a is in another unit") as error:
        InUnits(image(path, unit="kelvin"), (band(),))
    assert (error.value.expected, error.value.got) == ("reflectance", "kelvin")
