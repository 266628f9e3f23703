"""Time series: every band on every date, and a pixel counts where one date has all its bands."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from quadrat.errors import CatalogError, ImageError, ModelError
from quadrat.geo.grids.windows import Window, whole
from quadrat.geo.sources.bands import dates_of, names_of, undated
from quadrat.geo.sources.dates import times
from quadrat.geo.sources.source import Source
from quadrat.runtime.formats.yaml import dumped, load
from quadrat.scenes.catalog import Catalog
from quadrat.scenes.catalog import written as written_catalog
from quadrat.scenes.image import Clear, Image
from quadrat.serving.units import InUnits
from tests.geo.test_open_image import source
from tests.geo.test_stac import REFLECTANCE, item, written
from tests.ground import NORTH_UP, write_raster

DATES = ("2014-01-15", "2014-03-02", "2015-01-20")
RANDOM = np.random.default_rng(3)


def write_dates(folder: Path, pixels: np.ndarray, nodata: float | None = 0, apart: bool = False) -> None:
    """Write (date, band, y, x): a file for each date, or for each band of it (``apart``)."""
    for date, bands in zip(DATES, pixels, strict=True):
        if apart:
            for name, band in zip("abc", bands, strict=False):
                write_raster(folder / f"{date}_{name}.tif", band[None], nodata=nodata)
        else:
            write_raster(folder / f"{date}.tif", bands, nodata=nodata)


def series(path: Path | str, bands: Sequence[str] = "ab", **options: Any) -> Image:
    about = {name: options.pop(name) for name in ("dates", "clear") if name in options}
    return Image(grid=bands[0], sources=(source(path, *bands, **options),), **{"dates": DATES, **about})


@pytest.mark.parametrize("apart", [False, True])
def test_all_bands_of_a_date_then_all_of_the_next(tmp_path: Path, apart: bool) -> None:
    pixels = RANDOM.integers(1, 9, (3, 3, 5, 6)).astype(np.uint16)
    write_dates(tmp_path, pixels, apart=apart)
    image = series(tmp_path / ("{date}_{band}.tif" if apart else "{date}.tif"), "abc")
    with image.open(["c", "a"]) as raster:
        strip = raster.read(Window(1, 2, 3, 4))
        assert [(band.date, band.name) for band in raster.bands] == [(d, n) for d in DATES for n in "ca"]
        assert (names_of(raster.bands), dates_of(raster.bands)) == (("c", "a"), DATES)
    np.testing.assert_array_equal(strip.by_date, pixels[:, [2, 0], 1:4, 2:6])
    np.testing.assert_array_equal(strip.values, strip.by_date.reshape(6, 3, 4))
    assert [Path(file).name for file in image.files()][:2] == (["2014-01-15_a.tif", "2014-01-15_b.tif"] if apart else
                                                               ["2014-01-15.tif"] * 2)  # fmt: skip


@given(
    holes=st.lists(st.tuples(*(st.integers(0, n - 1) for n in (3, 2, 4, 5))), max_size=60),
    dtype=st.sampled_from(["uint8", "int16", "float32"]),
    nodata=st.sampled_from([None, 0]),
)
def test_a_pixel_is_valid_where_one_date_has_all_its_bands(
    tmp_path_factory: pytest.TempPathFactory, holes: list[tuple[int, ...]], dtype: str, nodata: float | None
) -> None:
    folder = tmp_path_factory.mktemp("series")
    pixels = RANDOM.integers(1, 200, (3, 2, 4, 5)).astype(dtype)
    for hole in holes:
        pixels[hole] = 0 if nodata == 0 or dtype != "float32" else np.nan
    write_dates(folder, pixels, nodata)
    with series(folder / "{date}.tif").open("ab") as raster:
        strip = raster.read(whole((4, 5)))
    for y, x in np.ndindex(4, 5):
        counts = [all(np.isfinite(v) and v != nodata for v in bands[:, y, x].astype(float)) for bands in pixels]
        assert strip.seen[:, y, x].tolist() == counts
        assert strip.valid[y, x] == any(counts)


def test_what_a_date_hides_is_no_value_of_its_bands(tmp_path: Path) -> None:
    shown = RANDOM.random((3, 4, 5)) < 0.5
    for dtype, nodata, blank in (("float32", None, np.nan), ("uint8", 7, 7)):
        pixels = RANDOM.integers(8, 200, (3, 2, 4, 5)).astype(dtype)
        write_dates(tmp_path, pixels, nodata)
        for date, mask in zip(DATES, shown, strict=True):
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / f"{date}.tif", "r+") as file:
                file.write_mask(mask)
        with series(tmp_path / "{date}.tif").open("ab") as raster:
            strip = raster.read(whole((4, 5)))
        np.testing.assert_array_equal(strip.seen, shown)
        np.testing.assert_array_equal(strip.by_date, np.where(shown[:, None], pixels, blank))


def test_a_band_that_cannot_say_where_a_date_is_hidden(tmp_path: Path) -> None:
    write_dates(tmp_path, RANDOM.integers(1, 200, (3, 2, 4, 5)).astype(np.uint8), None)
    hidden = np.ones((4, 5), bool)
    hidden[2, 3] = False
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / f"{DATES[1]}.tif", "r+") as file:
        file.write_mask(hidden)
    with series(tmp_path / "{date}.tif").open("ab") as raster:
        assert raster.read(Window(0, 0, 2, 5)).valid.all()
        with pytest.raises(
            ImageError, match=rf"band a has hidden pixels on a date(.|\n)*{DATES[1]}(.|\n)*set 'nodata'"
        ):
            raster.read(whole((4, 5)))
    with series(tmp_path / "{date}.tif", nodata=0.0).open("ab") as raster:
        assert raster.read(whole((4, 5))).seen.sum() == 3 * 20 - 1
    alone = series(tmp_path / f"{DATES[1]}.tif", dates=None)
    with alone.open("ab") as raster:  # without dates, validity stands beside the values
        np.testing.assert_array_equal(raster.read(whole((4, 5))).valid, hidden)


@pytest.mark.parametrize("coarse", [1, 2])
def test_a_band_tells_which_pixels_count(tmp_path: Path, coarse: int) -> None:
    pixels = RANDOM.integers(1, 200, (3, 2, 8, 12)).astype(np.uint16)
    write_dates(tmp_path, pixels)
    quality = RANDOM.integers(0, 5, (3, 8 // coarse, 12 // coarse)).astype(np.uint8)
    for date, told in zip(DATES, quality, strict=True):
        write_raster(tmp_path / f"qa_{date}.tif", told[None], NORTH_UP @ Affine.scale(coarse))
    bands = source(tmp_path / "{date}.tif", "a", "b")
    tells = source(tmp_path / "qa_{date}.tif", "qa", resampling="nearest", nodata=1.0)
    image = Image(grid="a", dates=DATES, clear=Clear(band="qa", values=(0, 3)), sources=(bands, tells))
    clear = np.isin(quality, (0, 3)).repeat(coarse, 1).repeat(coarse, 2)
    with image.open("ba") as raster:
        strip = raster.read(whole((8, 12)))
        part = raster.read(Window(2, 3, 3, 5))
        reduced, shown = raster.reduced((8, 12))
    np.testing.assert_array_equal(strip.seen, clear)
    np.testing.assert_array_equal(part.seen, clear[:, 2:5, 3:8])
    np.testing.assert_array_equal(strip.by_date, np.where(clear[:, None], pixels[:, ::-1], 0))
    np.testing.assert_array_equal(shown.reshape(3, 2, 8, 12), clear[:, None].repeat(2, 1))
    np.testing.assert_array_equal(reduced.reshape(3, 2, 8, 12), pixels[:, ::-1])
    one = [each.model_copy(update={"path": each.path.replace("{date}", DATES[1])}) for each in (bands, tells)]
    with Image(grid="a", clear=Clear(band="qa", values=(3,)), sources=tuple(one)).open("ab") as raster:
        expected = (quality[1] == 3).repeat(coarse, 0).repeat(coarse, 1)
        np.testing.assert_array_equal(raster.read(whole((8, 12))).valid, expected)


def test_a_source_without_dates_is_alike_on_all(tmp_path: Path) -> None:
    pixels = RANDOM.integers(1, 200, (3, 1, 4, 5)).astype(np.uint16)
    write_dates(tmp_path, pixels)
    height = RANDOM.integers(1, 200, (1, 4, 5)).astype(np.uint16)
    write_raster(tmp_path / "height.tif", height)
    both = (source(tmp_path / "{date}.tif", "a"), source(tmp_path / "height.tif", "h"))
    with Image(grid="a", dates=DATES, sources=both).open("ah") as raster:
        strip = raster.read(whole((4, 5)))
    np.testing.assert_array_equal(strip.by_date, np.concatenate([pixels, [height] * 3], axis=1))


def test_dates_on_other_grids_come_to_the_first_ones(tmp_path: Path) -> None:
    write_raster(tmp_path / f"{DATES[0]}.tif", np.full((1, 4, 6), 5, np.uint16))
    write_raster(tmp_path / f"{DATES[1]}.tif", np.full((1, 4, 6), 6, np.uint16), NORTH_UP @ Affine.translation(2, 0))
    write_raster(tmp_path / f"{DATES[2]}.tif", np.full((1, 2, 3), 7, np.uint16), NORTH_UP @ Affine.scale(2))
    with series(tmp_path / "{date}.tif", "a", nodata=0.0).open("a") as raster:
        assert raster.grid.shape == (4, 6)
        strip = raster.read(whole((4, 6)))
    assert strip.values[:, 0].tolist() == [[5] * 6, [0, 0, 6, 6, 6, 6], [7] * 6]
    assert strip.valid.all()


def test_a_band_means_the_same_on_all_dates(tmp_path: Path) -> None:
    write_dates(tmp_path, np.ones((3, 2, 4, 5), np.uint16))
    write_raster(tmp_path / f"{DATES[1]}.tif", np.ones((2, 4, 5), np.uint16), nodata=9)
    with pytest.raises(ImageError, match=rf"band a has different meanings(.|\n)*date {DATES[0]}(.|\n)*{DATES[1]}"):
        series(tmp_path / "{date}.tif").open("ab")
    with series(tmp_path / "{date}.tif", nodata=0.0, ignore_tags=True).open("ab"):
        pass
    with pytest.raises(ImageError, match=r"can't be opened(.|\n)*1999\.tif"):
        series(tmp_path / "{date}.tif", dates=(*DATES, "1999")).open("ab")


@given(st.data())
def test_as_xarray_any_part_is_that_of_the_whole(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "dated"
    pixels = np.arange(3 * 2 * 5 * 7, dtype=np.int16).reshape(3, 2, 5, 7)
    if not folder.exists():
        write_dates(folder, pixels)
    index = tuple(
        data.draw(st.one_of(st.integers(0, n - 1), st.slices(n).filter(lambda s, n=n: len(range(*s.indices(n))))))
        for n in pixels.shape
    )
    with series(folder / "{date}.tif").open("ab") as raster:
        array = raster.to_xarray()
        assert array.dims == ("time", "band", "y", "x")
        np.testing.assert_array_equal(array[index].values, pixels[index])
        assert array[0:0].shape == (0, 2, 5, 7)
        assert array[0:0].values.size == 0


def test_as_xarray_only_the_dates_that_are_asked_for_are_read(tmp_path: Path) -> None:
    write_dates(tmp_path, np.ones((3, 2, 4, 5), np.int16))
    with series(tmp_path / "{date}.tif").open("ab") as raster:
        (tmp_path / f"{DATES[1]}.tif").write_bytes(b"")
        raster._readers[1].dataset.close()
        array = raster.to_xarray().sel(time=["2014-01-15", "2015-01-20"])
        assert array.values.sum() == 2 * 2 * 4 * 5
        assert array.time.dt.year.values.tolist() == [2014, 2015]


def test_dates_become_times_where_all_of_them_are_some() -> None:
    assert times(("2014-01-15", "20140302")).tolist() == np.array(["2014-01-15", "2014-03-02"], "M8[ns]").tolist()
    assert times(("2014-01-15T10:00+01:00",)) == np.datetime64("2014-01-15T09:00")
    for names in (("2014", "2015"), ("2008118",), ("2014-01-15", "spring")):
        assert times(names).tolist() == [*names]


def test_items_of_several_dates(tmp_path: Path) -> None:
    items, pixels = [], RANDOM.integers(1, 200, (3, 2, 4, 4)).astype(np.uint16)
    for date, halves in zip(DATES, pixels, strict=True):
        for n, half in enumerate(halves):  # two items of a date are its mosaic
            name = f"{date}_{n}"
            write_raster(tmp_path / f"{name}.tif", half[None], NORTH_UP @ Affine.translation(4 * n, 0))
            one = item(name, {"red": {"href": f"{name}.tif", "raster:bands": [REFLECTANCE]}})
            items.append({**one, "properties": {"datetime": f"{date}T10:21:0{n}Z"}})
    collection = written(tmp_path / "items.json", {"type": "FeatureCollection", "features": items[::-1]})
    for date in DATES:
        some = [one for one in items if one["id"].startswith(date)]
        written(tmp_path / f"{date}.json", {"type": "FeatureCollection", "features": some})
    whole_rows = np.concatenate([pixels[:, 0], pixels[:, 1]], axis=2)
    for stac in (collection, str(tmp_path / "{date}.json")):
        red = Source(stac=stac, bands=("red",), resampling="nearest")
        image = Image(grid="red", dates=DATES, sources=(red,))
        with image.open(["red"]) as raster:
            assert raster.grid.shape == (4, 8)
            np.testing.assert_array_equal(raster.read(raster.grid.area).values, whole_rows)
        assert next(image.files()) == stac.replace("{date}", DATES[0])
    with pytest.raises(ImageError, match=r"no item has this date(.|\n)*begins with 2013(.|\n)*2014-01-15T10:21:00Z"):
        Image(grid="red", dates=("2014-01-15", "2013"), sources=(red.model_copy(update={"stac": collection}),)).open(
            ["red"]
        )


def test_a_catalog_with_dates_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    about = {"path": "{date}.tif", "bands": ["a"], "resampling": "nearest", "unit": "DN", "scale": 1.0, "offset": 0.0}
    image = {"grid": "a", "clear": {"band": "a", "values": [1]}, "sources": [about]}
    scenes = [{"id": "s", "split": "predict", "image": "one"}]
    listed, named = {**image, "dates": [*DATES]}, {**image, "dates": {DATES[0]: "2014015"}}
    content = {"images": {"one": listed, "other": named}, "labels": {}, "scenes": scenes}
    (tmp_path / "a.yaml").write_bytes(dumped(content))
    catalog = load(tmp_path / "a.yaml", Catalog, CatalogError)
    (tmp_path / "b.yaml").write_bytes(written_catalog(catalog))
    assert load(tmp_path / "b.yaml", Catalog, CatalogError) == catalog


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"dates": None}, "name the image's 'dates'"),
        ({"dates": ()}, "at least one"),
        ({"dates": ("a", "b", "a")}, "each date once"),
        ({"dates": {"a": "1", "b": "1"}}, "each date once"),
        ({"path": "a.tif"}, "all dates would be the same"),
        ({"clear": {"band": "c", "values": (1,)}}, "clear.band names the band that tells"),
        ({"clear": {"band": "b", "values": (1,)}}, "its resampling is 'nearest'"),
        ({"clear": {"band": "b", "values": ()}}, "at least 1 item"),
    ],
)
def test_what_a_catalog_cannot_say_of_dates(changes: dict[str, Any], problem: str) -> None:
    path = changes.pop("path", "{date}.tif")
    with pytest.raises(ValidationError, match=problem):
        series(path, **changes)


def test_in_units_of_a_model_with_as_many_dates(tmp_path: Path) -> None:
    pixels = RANDOM.integers(1, 200, (3, 2, 4, 5)).astype(np.uint16)
    pixels[0, :, 0] = pixels[:, 1, 1, :3] = pixels[:, :, 2] = 0
    write_dates(tmp_path, pixels)
    with series(tmp_path / "{date}.tif").open("ab") as raster:
        learnt, expected = raster.bands, raster.read(whole((4, 5)))
    other = series(tmp_path / "{date}.tif", dates={"x": DATES[0], "y": DATES[1], "z": DATES[2]})
    with InUnits(other, learnt) as raster:
        strip = raster.read(whole((4, 5)))
        assert dates_of(raster.bands) == ("x", "y", "z")
    np.testing.assert_array_equal(strip.values, expected.values)
    write_dates(tmp_path, pixels.astype(np.float32) * 0.5)
    half = series(tmp_path / "{date}.tif", scale=2.0)
    with InUnits(half, learnt) as raster:
        strip = raster.read(whole((4, 5)))
    np.testing.assert_array_equal(strip.values, expected.values)
    np.testing.assert_array_equal(strip.seen, expected.seen)
    for image, message in (
        (series(tmp_path / "{date}.tif", dates=DATES[:2]), r"expected: 3 dates(.|\n)*got: 2 dates(.|\n)*as many"),
        (series(tmp_path / f"{DATES[0]}.tif", dates=None), "got: an image without dates"),
    ):
        with pytest.raises(ModelError, match=message):
            InUnits(image, learnt)
    with pytest.raises(ModelError, match=r"expected: an image without dates(.|\n)*got: 3 dates"):
        InUnits(series(tmp_path / "{date}.tif"), undated(learnt[:2]))


def test_the_landsat_series_is_what_its_files_hold(landsat: Path) -> None:
    files = {band: sorted(landsat.glob(f"*_{band}.tif"), key=lambda f: f.name[9:16]) for band in ("b3", "b5", "fmask")}
    days = [file.name[9:16] for file in files["b3"]]
    dates = {datetime.strptime(day, "%Y%j").date().isoformat(): day for day in days}  # noqa: DTZ007 a day
    path = landsat / "L??035032{date}*_{band}.tif"
    about = {"resampling": "nearest", "unit": "reflectance", "scale": 0.0001}
    tells = source(path, "fmask", resampling="nearest", unit="class", nodata=255.0)
    clear = Clear(band="fmask", values=(0, 1))
    with Image(grid="b3", dates=dates, clear=clear, sources=(source(path, "b3", "b4", "b5", **about), tells)).open(
        ["b5", "b3"]
    ) as raster:
        array = raster.to_xarray()
        strip = raster.read(raster.grid.area)
        raw = {band: np.stack([rasterio.open(file).read(1) for file in some]) for band, some in files.items()}
        seen = np.isin(raw["fmask"], (0, 1)) & (raw["b5"] != -9999) & (raw["b3"] != -9999)
        np.testing.assert_array_equal(strip.seen, seen)
        np.testing.assert_array_equal(strip.valid, seen.any(0))
        for number, band in enumerate(("b5", "b3")):
            expected = np.where(np.isin(raw["fmask"], (0, 1)), raw[band], -9999)
            np.testing.assert_array_equal(strip.by_date[:, number], expected)
            np.testing.assert_array_equal(array.sel(band=band)[::7, 9:40:3, 5].values, expected[::7, 9:40:3, 5])
        assert array.shape == (105, 2, 61, 61)
        assert str(array.time.values[[0, -1]].astype("M8[D]").tolist()) == (
            "[datetime.date(2008, 4, 19), datetime.date(2013, 5, 27)]"
        )
        assert 0.4 < seen.mean() < 0.6
