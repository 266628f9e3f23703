"""Images are read as rasterio reads them, band by band and window by window."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.warp import reproject

from quadrat.errors import ImageError
from quadrat.geo.grids.windows import Window, whole
from quadrat.geo.reading import open_image as scenes_raster
from quadrat.scenes.image import Image, Source
from tests.ground import NORTH_UP, UTM, opened, write_raster


def source(path: Path | str | tuple[str, ...], *bands: str, **options: object) -> Source:
    about = {"unit": "DN", "scale": 1.0, "offset": 0.0, "resampling": "bilinear", **options}
    return Source(path=path if isinstance(path, tuple) else str(path), bands=bands, **about)  # type: ignore[arg-type]


def test_bands_by_name_in_the_order_asked_for(tmp_path: Path) -> None:
    pixels = np.arange(3 * 8 * 9, dtype=np.uint16).reshape(3, 8, 9)
    path = write_raster(tmp_path / "a.tif", pixels)
    with Image(grid="r", sources=(source(path, "r", "g", "b"),)).open(["b", "r"]) as raster:
        assert [band.name for band in raster.bands] == ["b", "r"]
        np.testing.assert_array_equal(raster.read(whole((8, 9))).values, pixels[[2, 0]])
        assert raster.grid.gsd == pytest.approx(10, rel=1e-4)  # UTM's scale


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_nodata_and_nan_are_no_values(tmp_path: Path, dtype: str) -> None:
    pixels = np.arange(2 * 6 * 6).reshape(2, 6, 6).astype(dtype)
    if dtype == "float32":
        pixels[1, 5, 4:] = np.nan, -np.inf
    path = write_raster(tmp_path / "a.tif", pixels, nodata=7)
    with opened(path, ("a", "b")) as raster:
        valid = raster.read(whole((6, 6))).valid
    expected = (pixels != 7).all(axis=0) & np.isfinite(pixels.astype(float)).all(axis=0)
    np.testing.assert_array_equal(valid, expected)


def coarse_and_fine(tmp_path: Path) -> Image:
    generator = np.random.default_rng(3)
    fine = write_raster(tmp_path / "fine.tif", generator.integers(1, 9000, (1, 96, 132), np.uint16))
    blocky = generator.integers(1, 9000, (1, 16, 22), np.uint16)
    blocky[0, 3:5, 7:9] = 0
    coarse = write_raster(tmp_path / "coarse.tif", blocky, NORTH_UP @ Affine.scale(6), nodata=0)
    return Image(grid="f", sources=(source(fine, "f"), source(coarse, "c")))


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "average"])
def test_coarse_bands_are_resampled_as_gdal_warps(tmp_path: Path, resampling: str) -> None:
    image = coarse_and_fine(tmp_path)
    image = image.model_copy(
        update={"sources": (image.sources[0], image.sources[1].model_copy(update={"resampling": resampling}))}
    )
    expected = np.zeros((96, 132), np.uint16)
    with rasterio.open(tmp_path / "coarse.tif") as file:
        reproject(
            file.read(1), expected, src_transform=file.transform, src_crs=file.crs, src_nodata=0, dst_nodata=0,
            dst_transform=NORTH_UP, dst_crs=UTM, resampling=rasterio.enums.Resampling[resampling], tolerance=1e-3,
        )  # fmt: skip
    with image.open(["c"]) as raster:
        strip = raster.read(whole((96, 132)))
    np.testing.assert_array_equal(strip.values[0], expected)
    np.testing.assert_array_equal(strip.valid, expected != 0)


def test_resampling_does_not_depend_on_the_window(tmp_path: Path) -> None:
    image = coarse_and_fine(tmp_path)
    with image.open(["c", "f"]) as raster:
        at_once = raster.read(whole((96, 132)))
    for height in (1, 7, 40):
        with image.open(["c", "f"]) as raster:
            parts = list(raster.strips(whole((96, 132)), height))
        np.testing.assert_array_equal(np.concatenate([p.values for p in parts], axis=1), at_once.values)
        np.testing.assert_array_equal(np.concatenate([p.valid for p in parts]), at_once.valid)
    with image.open(["c", "f"]) as raster:
        for window in (Window(31, 17, 20, 30), Window(90, 100, 6, 32), Window(0, 0, 1, 1)):
            np.testing.assert_array_equal(raster.read(window).values, at_once.values[(slice(None), *window.slices())])


def test_a_band_that_the_image_has_not(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8))
    with pytest.raises(ImageError, match=r"no such band(.|\n)*expected: B99(.|\n)*got: a"):
        Image(grid="a", sources=(source(path, "a"),)).open(["B99"])
    with pytest.raises(ImageError, match=r"fewer bands(.|\n)*got: 1 bands"):
        opened(path, ("a", "b"))


def test_a_missing_and_a_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"can't be opened(.|\n)*nowhere\.tif"):
        opened(tmp_path / "nowhere.tif")
    path = write_raster(tmp_path / "a.tif", np.random.default_rng(0).integers(0, 9, (1, 500, 500), np.uint8))
    path.write_bytes(path.read_bytes()[:120_000])
    with opened(path) as raster, pytest.raises(ImageError, match=r"damaged(.|\n)*a\.tif"):
        list(raster.strips(raster.grid.area, 64))


def test_reads_over_the_edge_are_refused(tmp_path: Path) -> None:
    with (
        opened(write_raster(tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8))) as raster,
        pytest.raises(ImageError, match="edge"),
    ):
        raster.read(Window(-1, 0, 3, 3))


@given(st.data())
def test_as_xarray_any_part_is_that_of_the_whole(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "lazy.tif"
    pixels = np.arange(2 * 11 * 13, dtype=np.int16).reshape(2, 11, 13)
    if not path.exists():
        write_raster(path, pixels)
    index = tuple(
        data.draw(st.one_of(st.integers(0, n - 1), st.slices(n).filter(lambda s, n=n: len(range(*s.indices(n))))))
        for n in pixels.shape
    )
    with opened(path, ("a", "b")) as raster:
        array = raster.to_xarray()
        np.testing.assert_array_equal(array[index].values, pixels[index])


def test_as_xarray_says_where_and_what(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.ones((1, 4, 5), np.uint16))
    with opened(path, unit="reflectance", scale=0.0001) as raster:
        array = raster.to_xarray()
        assert array.dims == ("band", "y", "x")
        assert array.rio.crs.to_epsg() == 32633
        assert array.rio.transform() == NORTH_UP
        assert float(array.x[0]) == 330_005
        assert float(array.y[0]) == 5_822_035
        assert array.unit.values.tolist() == ["reflectance"]


def test_the_real_scene_has_13_bands_on_one_grid(landuse: Path) -> None:
    names = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]
    ten = source(landuse / "T33UUU_20170216T102101_{band}.jp2", "B02", "B03", "B04", "B08")
    rest = tuple(n for n in names if n not in ten.bands)
    others = source(landuse / "T33UUU_20170216T102101_{band}.jp2", *rest)
    with Image(grid="B02", sources=(ten, others)).open(names) as raster:
        assert raster.grid.shape == (768, 1536)
        window = Window(100, 200, 64, 64)
        found = raster.read(window)
        with rasterio.open(landuse / "T33UUU_20170216T102101_B04.jp2") as file:
            red = file.read(1, window=rasterio.windows.Window(200, 100, 64, 64))
        np.testing.assert_array_equal(found.values[names.index("B04")], red)
        # at the centre of a 60 m pixel, bilinear gives about that pixel (10 m pixels straddle it)
        with rasterio.open(landuse / "T33UUU_20170216T102101_B09.jp2") as file:
            vapour = file.read(1)
        nine = raster.read(raster.grid.area).values[names.index("B09")].astype(float)
        centres = (nine[2::6, 2::6] + nine[3::6, 3::6] + nine[2::6, 3::6] + nine[3::6, 2::6]) / 4
        assert np.abs(centres - vapour).mean() < 0.05 * vapour.std()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_where_a_coarser_file_does_not_reach_there_is_no_value(tmp_path: Path, dtype: str, resampling: str) -> None:
    fine = write_raster(tmp_path / "fine.tif", np.full((1, 40, 60), 9, np.uint16))
    coarse = write_raster(tmp_path / "coarse.tif", np.full((1, 20, 15), 50, dtype), NORTH_UP @ Affine.scale(2))
    image = Image(grid="f", sources=(source(fine, "f"), source(coarse, "c", resampling=resampling)))
    with image.open(["f", "c"]) as raster:
        strip = raster.read(whole((40, 60)))
    np.testing.assert_array_equal(strip.valid, np.broadcast_to(np.arange(60) < 30, (40, 60)))
    assert (strip.values[1][strip.valid] == 50).all()


def test_a_nodata_value_counts_as_the_file_holds_it(tmp_path: Path) -> None:
    holes = np.where(np.arange(40) < 20, 0.5, -9999.9).astype(np.float32)[None, None].repeat(20, axis=1)
    whole_numbers = write_raster(tmp_path / "i.tif", np.ones((1, 20, 40), np.int32))
    alike = write_raster(tmp_path / "alike.tif", holes)
    coarse = write_raster(tmp_path / "coarse.tif", holes[:, ::2, ::2], NORTH_UP @ Affine.scale(2))
    for path in (alike, coarse):
        image = Image(grid="i", sources=(source(whole_numbers, "i"), source(path, "f", nodata=-9999.9)))
        with image.open(["i", "f"]) as raster:
            strip = raster.read(whole((20, 40)))
        np.testing.assert_array_equal(strip.valid, np.broadcast_to(np.arange(40) < 20, (20, 40)))
        assert (strip.values[1][strip.valid] == 0.5).all()


@pytest.mark.parametrize("nodata", [-9999.0, 0.5, 1e9])
def test_a_nodata_value_that_the_type_cannot_hold_is_none(tmp_path: Path, nodata: float) -> None:
    path = write_raster(tmp_path / "a.tif", np.zeros((1, 8, 8), np.uint8))
    with opened(path, nodata=nodata) as raster:
        assert raster.bands[0].nodata is None
        assert raster.read(whole((8, 8))).valid.all()


def test_a_file_of_one_band_that_holds_more(tmp_path: Path) -> None:
    write_raster(tmp_path / "x_a.tif", np.ones((3, 8, 8), np.uint8))
    with pytest.raises(ImageError, match=r"holds several(.|\n)*3 bands(.|\n)*without {band}"):
        Image(grid="a", sources=(source(tmp_path / "x_{band}.tif", "a"),)).open(["a"])


def test_complex_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="complex"):
        opened(write_raster(tmp_path / "a.tif", np.ones((1, 8, 8), np.complex64)))


def test_a_local_crs_is_in_metres_but_not_on_earth(tmp_path: Path) -> None:
    feet = write_raster(tmp_path / "a.tif", np.ones((1, 8, 8), np.uint8), crs='LOCAL_CS["mine",UNIT["foot",0.3048]]')
    with opened(feet) as raster:
        assert raster.grid.gsd == pytest.approx(3.048)
        assert not raster.grid.on_earth


def test_infinity_can_be_nodata(tmp_path: Path) -> None:
    pixels = np.array([[[1.0, np.inf], [-np.inf, 2.0]]], np.float32)
    with opened(write_raster(tmp_path / "a.tif", pixels, nodata=np.inf)) as raster:
        np.testing.assert_array_equal(raster.read(whole((2, 2))).valid, np.isfinite(pixels[0]))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("side", [64, 512])
def test_a_jpeg_2000_file_cut_short(tmp_path: Path, share: float, side: int) -> None:
    pixels = np.random.default_rng(0).integers(1, 9999, (1, 512, 512), np.uint16)
    path = tmp_path / "a.jp2"
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES", "BLOCKXSIZE": 64, "BLOCKYSIZE": 64}
    rasterio.shutil.copy(write_raster(tmp_path / "a.tif", pixels), path, driver="JP2OpenJPEG", **lossless)
    with opened(path) as raster:
        np.testing.assert_array_equal(raster.read(raster.grid.area).values, pixels)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with opened(path) as raster, pytest.raises(ImageError, match=r"damaged(.|\n)*a\.jp2"):
        list(raster.strips(raster.grid.area, side))


@pytest.mark.parametrize("ahead", [2**28, 3 * 2 * 16 * 70 * 2 * 2, 1])
def test_strips_are_the_same_read_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    monkeypatch.setattr(scenes_raster, "AHEAD_BYTES", ahead)
    pixels = np.random.default_rng(0).integers(0, 9, (2, 203, 70), np.uint16)
    path = write_raster(tmp_path / "a.tif", pixels, nodata=0, tiled=True, blockxsize=16, blockysize=16)
    with opened(path, ("a", "b")) as raster:
        area = Window(5, 3, 190, 60)
        one, several = (list(raster.strips(area, 16, readers)) for readers in (1, 4))
        assert [strip.window for strip in several] == [strip.window for strip in one]
        for mine, theirs in zip(several, one, strict=True):
            np.testing.assert_array_equal(mine.values, theirs.values)
            np.testing.assert_array_equal(mine.seen, theirs.seen)
        first = next(iter(raster.strips(area, 16, 4)))  # whoever needs no more leaves no thread behind
        assert first.window.row == 5
    path.write_bytes(path.read_bytes()[:-2000])
    with opened(path, ("a", "b")) as raster, pytest.raises(ImageError, match="damaged"):
        list(raster.strips(area, 16, 4))


@pytest.mark.parametrize(("bands", "doubts"), [(("red", "green", "blue"), 2), (("blue", "green", "red"), 0)])
def test_a_file_that_calls_its_bands_other_colours_is_told_of(
    tmp_path: Path, bands: tuple[str, ...], doubts: int
) -> None:
    path = write_raster(tmp_path / "i.tif", np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    source = Source(path=str(path), bands=bands, resampling="nearest", unit="DN", scale=1.0, offset=0.0)
    with Image(grid="red", sources=(source,)).open(bands) as raster:
        assert len(raster.remarks) == doubts
        assert not doubts or "calls its band 1 blue, the catalog red" in raster.remarks[0]
