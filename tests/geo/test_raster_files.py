"""What files say of themselves: masks, alpha, tags, palettes, data types, places."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC

from quadrat.errors import CatalogError, ImageError, LabelError
from quadrat.geo.grids.windows import Window, whole
from quadrat.scenes.image import Image, Source
from tests.geo.test_open_image import source
from tests.ground import NORTH_UP, UTM, image, opened, write_raster
from tests.labels.test_raster import labels

RANDOM = np.random.default_rng(0)


def rgba(path: Path, alpha: np.ndarray, **options: Any) -> Path:
    pixels = RANDOM.integers(1, 200, (4, *alpha.shape)).astype(np.uint8)
    pixels[3] = alpha
    return write_raster(path, pixels, photometric="RGB", alpha="YES", **options)


ALPHA = np.array([[255, 0, 128, 255], [0, 255, 255, 1]], np.uint8).repeat(3, 0)


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_transparent_pixels_are_no_values(tmp_path: Path, interleave: str) -> None:
    path = rgba(tmp_path / "a.tif", ALPHA, interleave=interleave)
    with opened(path, ("r", "g", "b")) as raster, rasterio.open(path) as file:
        strip = raster.read(raster.grid.area)
        np.testing.assert_array_equal(strip.valid, ALPHA > 0)
        np.testing.assert_array_equal(strip.values, file.read([1, 2, 3]))
    with opened(path, ("r", "g", "b"), mask=False) as raster:
        assert raster.read(raster.grid.area).valid.all()


def test_an_alpha_band_that_is_named_is_a_band(tmp_path: Path) -> None:
    path = rgba(tmp_path / "a.tif", ALPHA)  # as GDAL writes red, green, blue and infrared, unasked
    with image(path, ("r", "g", "b", "nir")).open(["r"]) as raster:
        assert raster.read(raster.grid.area).valid.all()
    apart = Image(grid="r", sources=(source(path, "r"), Source(**{**dict(source(path, "r")), "bands": {"nir": 4}})))
    with apart.open(["r"]) as raster:
        assert raster.read(raster.grid.area).valid.all()
    with image(path, ("r", "g", "b", "nir"), mask=True).open(["r"]) as raster:
        np.testing.assert_array_equal(raster.read(raster.grid.area).valid, ALPHA > 0)


@pytest.mark.parametrize("internal", [True, False])
@pytest.mark.parametrize("nodata", [None, 7])
def test_masked_pixels_are_no_values(tmp_path: Path, internal: bool, nodata: float | None) -> None:
    pixels = RANDOM.integers(0, 9, (2, 6, 4)).astype(np.uint16)
    path = write_raster(tmp_path / "a.tif", pixels, nodata=nodata)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(path, "r+") as file:
        file.write_mask(ALPHA)
    assert path.with_suffix(".tif.msk").exists() == (not internal)
    with opened(path, ("a", "b")) as raster:
        strip = raster.read(raster.grid.area)
        part = raster.read(Window(1, 1, 4, 2))
    expected = (ALPHA > 0) & (pixels != nodata).all(0) if nodata else ALPHA > 0
    np.testing.assert_array_equal(strip.valid, expected)
    np.testing.assert_array_equal(part.valid, expected[1:5, 1:3])
    np.testing.assert_array_equal(strip.values[:, expected], pixels[:, expected])
    assert nodata is None or (strip.values[:, ALPHA == 0] == nodata).all()


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("kind", ["alpha", "mask"])
@pytest.mark.parametrize("nodata", [None, 250.0])
def test_masked_pixels_do_not_bleed(tmp_path: Path, resampling: str, kind: str, nodata: float | None) -> None:
    """What a mask hides has no part in resampled pixels."""
    fine = write_raster(tmp_path / "fine.tif", np.ones((1, 24, 48), np.uint8))
    shown = np.ones((4, 8), bool)
    shown[1:3, 2:5] = False
    pixels = np.where(shown, 100, 255).astype(np.uint8)[None].repeat(3, 0)
    coarse = NORTH_UP @ Affine.scale(6)
    alpha = np.where(shown, 255, 0).astype(np.uint8)
    if kind == "alpha":
        path = write_raster(tmp_path / "a.tif", np.stack([*pixels, alpha]), coarse, photometric="RGB", alpha="YES")
    else:
        path = write_raster(tmp_path / "a.tif", pixels, coarse)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
            file.write_mask(alpha)
    both = (source(fine, "f"), source(path, "r", "g", "b", resampling=resampling, nodata=nodata))
    with Image(grid="f", sources=both).open(["g"]) as raster:
        strip = raster.read(raster.grid.area)
        parts = [*raster.strips(raster.grid.area, 7)]
    np.testing.assert_array_equal(np.concatenate([p.valid for p in parts]), strip.valid)
    assert (strip.values[0][strip.valid] == 100).all()
    big = shown.repeat(6, 0).repeat(6, 1)
    assert strip.valid[big].all()
    assert not strip.valid[12, 21]  # in the middle of what is hidden
    if resampling == "nearest":
        np.testing.assert_array_equal(strip.valid, big)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
def test_an_alpha_band_that_is_named_does_not_hide_resampled_pixels(tmp_path: Path, dtype: str) -> None:
    fine = write_raster(tmp_path / "fine.tif", np.ones((1, 24, 60), np.uint8))
    pixels = np.stack([np.full((4, 8), 100)] * 3 + [np.zeros((4, 8))]).astype(dtype)
    path = write_raster(tmp_path / "a.tif", pixels, NORTH_UP @ Affine.scale(6), photometric="RGB", alpha="YES")
    for both in (
        (source(fine, "f"), source(path, "r", "g", "b", "nir")),
        (source(fine, "f"), source(path, "r", "g", "b", mask=False)),
    ):
        with Image(grid="f", sources=both).open(["g"]) as raster:
            strip = raster.read(raster.grid.area)
        np.testing.assert_array_equal(strip.valid, np.broadcast_to(np.arange(60) < 48, (24, 60)))
        assert (strip.values[0][strip.valid] == 100).all()


def test_an_alpha_band_of_another_type_hides_what_is_transparent(tmp_path: Path) -> None:
    values = RANDOM.integers(300, 60_000, (1, 4, 8)).astype(np.uint16)
    shown = RANDOM.random((4, 8)) < 0.7
    place = NORTH_UP @ Affine.scale(6)
    write_raster(tmp_path / "values.tif", values, place)
    write_raster(tmp_path / "alpha.tif", np.where(shown, 255, 0).astype(np.uint8)[None], place)
    bands = "".join(
        f'<VRTRasterBand dataType="{dtype}" band="{number}"><ColorInterp>{color}</ColorInterp><SimpleSource>'
        f"<SourceFilename>{tmp_path / name}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for number, (dtype, color, name) in enumerate(
            [("UInt16", "Gray", "values.tif"), ("Byte", "Alpha", "alpha.tif")], 1
        )
    )
    both = tmp_path / "both.vrt"
    transform = ", ".join(repr(float(value)) for value in place.to_gdal())
    head = f"<SRS>{UTM}</SRS><GeoTransform>{transform}</GeoTransform>"
    both.write_text(f'<VRTDataset rasterXSize="8" rasterYSize="4">{head}{bands}</VRTDataset>')
    with opened(both) as raster:
        strip = raster.read(raster.grid.area)
    np.testing.assert_array_equal(strip.values, values)
    np.testing.assert_array_equal(strip.valid, shown)
    fine = write_raster(tmp_path / "fine.tif", np.ones((1, 24, 48), np.uint8))
    with Image(grid="f", sources=(source(fine, "f"), source(both, "r", resampling="nearest"))).open(["r"]) as raster:
        strip = raster.read(raster.grid.area)
    big = shown.repeat(6, 0).repeat(6, 1)
    np.testing.assert_array_equal(strip.valid, big)
    np.testing.assert_array_equal(strip.values[0][big], values[0].repeat(6, 0).repeat(6, 1)[big])


def test_a_mask_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"neither mask nor alpha(.|\n)*a\.tif"):
        opened(write_raster(tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8)), mask=True)


def test_bands_by_number(tmp_path: Path) -> None:
    pixels = np.arange(13 * 4 * 4, dtype=np.int32).reshape(13, 4, 4) * 10_000
    path = write_raster(tmp_path / "a.tif", pixels)
    numbered = Source(**{**dict(source(path, "r")), "bands": {"swir": 13, "red": 4, "blue": 2}})
    with Image(grid="red", sources=(numbered,)).open(["red", "swir"]) as raster:
        np.testing.assert_array_equal(raster.read(whole((4, 4))).values, pixels[[3, 12]])
    with pytest.raises(ImageError, match=r"fewer bands(.|\n)*14: far(.|\n)*got: 13 bands"):
        Image(grid="far", sources=(numbered.model_copy(update={"bands": {"far": 14}}),)).open(["far"])


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize(
    "transform", [Affine.identity(), NORTH_UP @ Affine.scale(1, -1), NORTH_UP @ Affine.rotation(20)]
)
def test_files_of_all_types_and_directions_are_read(tmp_path: Path, dtype: str, transform: Affine) -> None:
    low, high = (-1e6, 1e6) if dtype.startswith("f") else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    pixels = RANDOM.uniform(low, high, (1, 9, 9)).astype(dtype)
    path = write_raster(tmp_path / "a.tif", pixels, transform, None if transform.is_identity else UTM)
    with opened(path) as raster:
        assert raster.dtype == dtype
        assert raster.grid.transform == transform
        np.testing.assert_array_equal(raster.read(Window(2, 3, 5, 4)).values[0], pixels[0, 2:7, 3:7])


def test_complex_numbers_and_palettes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"complex numbers(.|\n)*complex64(.|\n)*amplitude"):
        opened(write_raster(tmp_path / "a.tif", np.ones((1, 4, 4), np.complex64)))
    path = write_raster(tmp_path / "b.tif", np.ones((1, 4, 4), np.uint8))
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {0: (0, 0, 0), 1: (255, 0, 0)})
    with pytest.raises(ImageError, match=r"colour table(.|\n)*-expand rgb"):
        opened(path)


def test_bytes_that_have_signs_by_an_old_tag_are_refused(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", np.full((1, 4, 4), 200, np.uint8))
    with rasterio.open(tmp_path / "a.tif") as file:
        rasterio.shutil.copy(file, tmp_path / "a.vrt", driver="VRT")
    text = (tmp_path / "a.vrt").read_text()
    tag = '<Metadata domain="IMAGE_STRUCTURE"><MDI key="PIXELTYPE">SIGNEDBYTE</MDI></Metadata>'
    (tmp_path / "a.vrt").write_text(re.sub(r"(<VRTRasterBand [^>]*>)", rf"\1{tag}", text))
    with pytest.raises(ImageError, match=r"bytes as signed(.|\n)*a\.vrt(.|\n)*expected: the data type Int8"):
        opened(tmp_path / "a.vrt")
    with pytest.raises(LabelError, match=r"bytes as signed(.|\n)*scene: s"), labels(tmp_path / "a.vrt"):
        pass


def tagged(path: Path, scale: float, offset: float) -> Path:
    write_raster(path, np.ones((2, 4, 4), np.uint16))
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (scale, scale), (offset, offset)
    return path


def test_tags_that_contradict_the_catalog(tmp_path: Path) -> None:
    path = tagged(tmp_path / "a.tif", 0.0001, -0.1)
    with opened(path, scale=1e-4, offset=-0.1):
        pass
    message = (
        r"different scale and offset(.|\n)*a\.tif(.|\n)*scale 0.0001, offset 0 \((.|\n)*scale 0.0001, offset -0.1 \("
    )
    with pytest.raises(ImageError, match=message):
        opened(path, scale=1e-4, offset=0.0)
    with opened(path, scale=1e-4, offset=0.0, ignore_tags=True) as raster:
        assert raster.bands[0].offset == 0
    with opened(tagged(tmp_path / "b.tif", 1, 0), scale=1e-4, offset=-0.1):  # nothing is said
        pass


@pytest.mark.parametrize(
    ("dtype", "said", "mine", "agrees"),
    [
        ("uint8", 255, 0.0, False),
        ("uint8", 255, -1.0, False),  # none: not what the file says
        ("uint8", 255, 255, True),
        ("uint8", None, 0.0, True),
        ("int16", -9999, -32768.0, False),
        ("float32", -3.4028234663852886e38, -3.4028235e38, True),  # float32 holds both as one
        ("float64", -9999, -9998.9999, False),
        ("float32", np.nan, -9999.0, True),  # NaN is none all the same
    ],
)
def test_nodata_that_contradicts_the_file(
    tmp_path: Path, dtype: str, said: float | None, mine: float, agrees: bool
) -> None:
    path = write_raster(tmp_path / "a.tif", np.ones((1, 4, 4), dtype), nodata=said)
    if agrees:
        with opened(path, nodata=mine):
            return
    about = rf"a\.tif(.|\n)*expected: {mine} \(the catalog's\)(.|\n)*got: {said}(.|\n)*ignore_tags"
    message = f"different nodata values(.|\n)*{about}"
    with pytest.raises(ImageError, match=message):
        opened(path, nodata=mine)
    with opened(path, nodata=mine, ignore_tags=True) as raster:
        assert raster.bands[0].nodata == (None if mine == -1 else mine)
        assert raster.read(raster.grid.area).valid.all()


def test_images_without_a_grid(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8), Affine.identity(), None)
    with rasterio.open(path, "r+") as file:
        points = [GroundControlPoint(r, c, 10 + c, 50 - r) for r, c in ((0, 0), (0, 4), (4, 0), (4, 4))]
        file.gcps = (points, "EPSG:4326")
    with pytest.raises(ImageError, match=r"ground control points, but no grid(.|\n)*gdalwarp -tps"):
        opened(path)
    path = write_raster(tmp_path / "b.tif", np.ones((1, 4, 4), np.uint8), Affine.identity(), None)
    one = [1.0] + [0.0] * 19
    with rasterio.open(path, "r+") as file:
        file.rpcs = RPC(0, 1, 50, 1, one, one, 2, 2, 10, 1, one, one, 2, 2)
    with pytest.raises(ImageError, match=r"RPC\), but no grid(.|\n)*gdalwarp -rpc"):
        opened(path)


def test_a_photo_is_in_pixel_coordinates(tmp_path: Path) -> None:
    pixels = RANDOM.integers(0, 255, (3, 5, 7)).astype(np.uint8)
    with rasterio.open(tmp_path / "a.png", "w", driver="PNG", count=3, height=5, width=7, dtype="uint8") as file:
        file.write(pixels)
    with opened(tmp_path / "a.png", ("r", "g", "b")) as raster:
        assert raster.grid.crs is None
        assert raster.grid.transform.is_identity
        assert raster.to_xarray().rio.crs is None
        np.testing.assert_array_equal(raster.read(whole((5, 7))).values, pixels)
    small = write_raster(tmp_path / "b.tif", np.ones((1, 3, 3), np.uint8), Affine.identity(), None)
    with pytest.raises(ImageError, match=r"different size without a place(.|\n)*7 × 5 px(.|\n)*3 × 3 px"):
        Image(grid="r", sources=(source(tmp_path / "a.png", "r"), source(small, "s"))).open(["s"])
    placed = write_raster(tmp_path / "c.tif", np.ones((1, 3, 3), np.uint8))
    with pytest.raises(CatalogError, match="with and without a CRS"):
        Image(grid="r", sources=(source(tmp_path / "a.png", "r"), source(placed, "s"))).open(["s"])
