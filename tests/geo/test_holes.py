"""What has no value has no part in any value: nodata, masks, alpha and NaN, each alone and together, on any grid."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.enums import Resampling
from rasterio.warp import calculate_default_transform, reproject, transform_bounds

from quadrat.errors import ImageError
from quadrat.geo.reading.open_image import Strip
from quadrat.scenes.image import Image
from tests.geo.test_open_image import source
from tests.ground import NORTH_UP, UTM, opened, write_raster

RANDOM = np.random.default_rng(7)
COARSE = NORTH_UP @ Affine.scale(2)
SHIFTED = COARSE @ Affine.translation(0.3, -0.2)
GDAL_TYPES = {"int64": "Int64", "uint64": "UInt64", "uint16": "UInt16", "int16": "Int16", "float32": "Float32"}


def holes(count: int, side: int = 16) -> np.ndarray:
    """Return where bands (band, y, x) have a value: a block of each is missing, elsewhere in each, and some pixels."""
    shown = RANDOM.random((count, side, side)) < 0.9
    for band in range(count):
        shown[band, 2 + 4 * band : 5 + 4 * band, 3:7] = False
    return shown


def on_fine_grid(path: Path | str | tuple[str, ...], *bands: str, **options: Any) -> Strip:
    """Read all of a file of 20 m pixels on the grid of one of 10 m."""
    first = Path(path if isinstance(path, str | Path) else path[0])
    fine = write_raster(first.with_name("fine.tif"), np.ones((1, 32, 32), np.uint8))
    image = Image(grid="f", sources=(source(fine, "f"), source(path, *bands, **options)))
    with image.open(bands) as raster:
        return raster.read(raster.grid.area)


def naive_bilinear(pixels: np.ndarray, shown: np.ndarray, transform: Affine) -> tuple[np.ndarray, np.ndarray]:
    """Weigh the up to four nearest pixels with a value; there is one where the pixel below the centre has one."""
    found, valid = np.zeros((32, 32)), np.zeros((32, 32), bool)
    for row, col in product(range(32), range(32)):
        x, y = ~transform @ (NORTH_UP @ (col + 0.5, row + 0.5))
        if not (0 <= x < pixels.shape[1] and 0 <= y < pixels.shape[0] and shown[int(y), int(x)]):
            continue
        left, top = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
        total = weights = 0.0
        for r, c in product((top, top + 1), (left, left + 1)):
            if 0 <= r < pixels.shape[0] and 0 <= c < pixels.shape[1] and shown[r, c]:
                weight = (1 - abs(x - 0.5 - c)) * (1 - abs(y - 0.5 - r))
                total, weights = total + weight * float(pixels[r, c]), weights + weight
        found[row, col], valid[row, col] = total / weights, True
    return found, valid


def naive_average(pixels: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of those of 2 × 2 pixels that have a value, and where there is one."""
    rows, cols = pixels.shape[0] // 2, pixels.shape[1] // 2
    found, valid = np.zeros((rows, cols)), np.zeros((rows, cols), bool)
    for row, col in product(range(rows), range(cols)):
        there = (slice(2 * row, 2 * row + 2), slice(2 * col, 2 * col + 2))
        some = pixels[there][shown[there]]
        if some.size:
            found[row, col], valid[row, col] = some.astype(float).mean(), True
    return found, valid


NODATA = [
    ("uint8", 0), ("uint16", 0), ("uint16", 65535), ("int8", -128), ("int16", -9999), ("int32", -(2**31)),
    ("uint32", 2**32 - 1), ("float32", -9999), ("float32", float(np.float32(-3.4e38))), ("float64", -9999),
    ("float32", np.nan),
]  # fmt: skip


@pytest.mark.parametrize("transform", [COARSE, SHIFTED], ids=["whole", "shifted"])
@pytest.mark.parametrize(("dtype", "nodata"), NODATA)
@pytest.mark.parametrize("said_by", ["file", "catalog"])
def test_bilinear_weighs_valid_pixels_alone(
    tmp_path: Path, dtype: str, nodata: float, said_by: str, transform: Affine
) -> None:
    shown = holes(2)
    pixels = RANDOM.integers(20, 120, shown.shape).astype(dtype)
    stored = np.where(shown, pixels, np.array(nodata, dtype))
    path = write_raster(tmp_path / "a.tif", stored, transform, nodata=nodata if said_by == "file" else None)
    about = {"nodata": nodata} if said_by == "catalog" and np.isfinite(nodata) else {}
    for number, band in enumerate("ab"):
        strip = on_fine_grid(path, "a", "b", **about)
        alone = Image(grid="f", sources=(source(tmp_path / "fine.tif", "f"), source(path, "a", "b", **about)))
        with alone.open([band]) as raster:
            one = raster.read(raster.grid.area)
        found, valid = naive_bilinear(pixels[number], shown[number], transform)
        np.testing.assert_array_equal(one.valid, valid)
        np.testing.assert_allclose(one.values[0][valid].astype(float), found[valid], atol=0.51, rtol=1e-6)
        assert one.values.dtype == dtype
        np.testing.assert_array_equal(strip.values[number][valid], one.values[0][valid])


@pytest.mark.parametrize(("dtype", "nodata"), NODATA)
def test_averages_are_those_of_valid_pixels(tmp_path: Path, dtype: str, nodata: float) -> None:
    shown = holes(2)
    pixels = RANDOM.integers(20, 120, shown.shape).astype(dtype)
    write_raster(tmp_path / "a.tif", np.where(shown, pixels, np.array(nodata, dtype)), nodata=nodata)
    wide = write_raster(tmp_path / "wide.tif", np.ones((1, 8, 8), np.uint8), COARSE)
    sources = (source(wide, "w"), source(tmp_path / "a.tif", "a", "b", resampling="average"))
    with Image(grid="w", sources=sources).open(["a", "b"]) as raster:
        strip = raster.read(raster.grid.area)
    means = [naive_average(*each) for each in zip(pixels, shown, strict=True)]
    np.testing.assert_array_equal(strip.valid, means[0][1] & means[1][1])
    for values, (found, valid) in zip(strip.values, means, strict=True):
        np.testing.assert_allclose(values[valid].astype(float), found[valid], atol=0.51)


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "average"])
@pytest.mark.parametrize("crs", [UTM, "EPSG:4326", "EPSG:3857"])
@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint16", 0), ("int16", -9999), ("float32", -9999), ("float32", np.nan)]
)
def test_several_bands_are_resampled_as_each_alone(
    tmp_path: Path, resampling: str, crs: str, dtype: str, nodata: float
) -> None:
    transform, size = COARSE, 16
    if crs != UTM:
        bounds = transform_bounds(UTM, crs, *rasterio.transform.array_bounds(16, 16, COARSE))
        transform, size, _ = calculate_default_transform(crs, crs, 16, 16, *bounds)
    shown = holes(3, size)
    path = write_raster(
        tmp_path / "a.tif", np.where(shown, 1000, nodata).astype(dtype), transform, crs, nodata, interleave="pixel"
    )
    strip = on_fine_grid(path, "a", "b", "c", resampling=resampling)
    whole = np.ones((32, 32), bool)
    for band in range(3):
        expected = np.full((32, 32), np.nan)
        with rasterio.open(path) as file:
            alone = np.where(shown[band], file.read(band + 1), np.nan).astype(np.float64)
            reproject(
                alone, expected, src_transform=transform, src_crs=crs, src_nodata=np.nan, dst_nodata=np.nan,
                dst_transform=NORTH_UP, dst_crs=UTM, resampling=Resampling[resampling], tolerance=1e-3,
            )  # fmt: skip
        whole &= ~np.isnan(expected)
    np.testing.assert_array_equal(strip.valid, whole)
    np.testing.assert_allclose(strip.values[:, strip.valid].astype(float), 1000, rtol=1e-6)


def write_virtual(path: Path, pixels: np.ndarray, nodata: list[Any], transform: Affine = NORTH_UP) -> Path:
    """Write (band, y, x) as a GeoTIFF, and a virtual raster of it whose bands have these nodata values."""
    write_raster(path.with_suffix(".tif"), pixels, transform)
    bands = "".join(
        f'<VRTRasterBand dataType="{GDAL_TYPES[pixels.dtype.name]}" band="{number}"><NoDataValue>{none}</NoDataValue>'
        f'<SimpleSource><SourceFilename relativeToVRT="1">{path.with_suffix(".tif").name}</SourceFilename>'
        f"<SourceBand>{number}</SourceBand></SimpleSource></VRTRasterBand>"
        for number, none in enumerate(nodata, 1)
    )
    height, width = pixels.shape[1:]
    place = ", ".join(map(str, transform.to_gdal()))
    head = f"<SRS>{UTM}</SRS><GeoTransform>{place}</GeoTransform>"
    path.write_text(f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{head}{bands}</VRTDataset>')
    return path


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "average"])
def test_bands_of_different_nodata(tmp_path: Path, resampling: str) -> None:
    shown = holes(2)
    pixels = np.where(shown, 1000, np.array([0, 7])[:, None, None]).astype(np.uint16)
    path = write_virtual(tmp_path / "a.vrt", pixels, [0, 7], COARSE)
    strip = on_fine_grid(path, "a", "b", resampling=resampling)
    assert strip.valid.any()
    assert (strip.values[:, strip.valid] == 1000).all()
    assert not strip.valid[6:8, 8:12].any()
    assert not strip.valid[14:16, 8:12].any()


def hide(path: Path, shown: np.ndarray, kind: str) -> None:
    """Give a file a mask: in it, or in a .msk beside it."""
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=kind == "internal"), rasterio.open(path, "r+") as file:
        file.write_mask(np.where(shown, 255, 0).astype(np.uint8))


def write_hidden(path: Path, kind: str, place: Affine, pixels: np.ndarray, shown: np.ndarray, nodata: Any) -> Path:
    """Write (3, y, x) with a nodata value, and beside it what hides where it is not ``shown``."""
    if kind == "alpha":
        alpha = np.where(shown, 255, 0).astype(pixels.dtype)[None]
        options = {"photometric": "RGB", "alpha": "YES"}
        return write_raster(path, np.concatenate([pixels, alpha]), place, nodata=nodata, **options)
    write_raster(path, pixels, place, nodata=nodata)
    hide(path, shown, kind)
    return path


@pytest.mark.filterwarnings("ignore:The dataset's nodata attribute is shadowing the alpha band")
@pytest.mark.parametrize("kind", ["internal", "beside", "alpha"])
@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", 0), ("uint8", None), ("float32", -9999), ("float32", None)])
@pytest.mark.parametrize("place", [NORTH_UP, COARSE, SHIFTED], ids=["own", "other", "shifted"])
@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("files", [1, 2])
def test_a_mask_and_nodata_both_hide(
    tmp_path: Path, kind: str, dtype: str, nodata: float | None, place: Affine, resampling: str, files: int
) -> None:
    """Hidden pixels hold other values, and what lies below them in a mosaic shows."""
    shown, known = np.ones((2, 16, 16), bool)
    shown[2:5, 2:5], known[9:12, 9:12] = False, False
    pixels = np.where(shown & known, 100, 250)[None].repeat(3, 0).astype(dtype)
    if nodata is not None:
        pixels[:, ~known] = nodata
    paths = [str(write_hidden(tmp_path / "p0.tif", kind, place, pixels, shown, nodata))]
    if files == 2:  # its left half shows through, and holds another value
        below = np.full((3, 16, 4), 60, dtype)
        paths.append(str(write_hidden(tmp_path / "p1.tif", kind, place, below, np.ones((16, 4), bool), nodata)))
    bands = ("a", "b", "c")
    if place == NORTH_UP:
        with opened(tuple(paths) if files == 2 else paths[0], bands) as raster:
            strip = raster.read(raster.grid.area)
        expected = shown & (known if nodata is not None else True)
        expected[:, :4] |= files == 2
        np.testing.assert_array_equal(strip.valid, expected)
    else:
        strip = on_fine_grid(tuple(paths) if files == 2 else paths[0], *bands, resampling=resampling)
        assert not strip.valid[7, 9]  # in the middle of what the mask hides, beside what shows through
        assert strip.valid[7, 5] == (files == 2)
        assert strip.valid[21, 21] == (nodata is None)
        assert strip.valid[2:30, 14:16].all()
    seen = strip.values[:, strip.valid].astype(float)
    allowed = [100.0] if files == 1 else [60.0, 100.0]
    if nodata is None:  # then 250 is a value where no mask hides it
        allowed.append(250.0)
    assert seen.min() >= min(allowed)
    assert seen.max() <= max(allowed)
    if resampling == "nearest" or place == NORTH_UP or len(allowed) == 1:
        assert {*np.unique(seen)} <= {*allowed}


def own_masks(path: Path, shown: np.ndarray) -> None:
    """Give each band of a file a mask of its own (band, y, x), in a .msk beside it."""
    count, height, width = shown.shape
    shape = {"count": count, "height": height, "width": width, "dtype": "uint8"}
    with rasterio.open(f"{path}.msk", "w", driver="GTiff", transform=NORTH_UP, **shape) as file:
        file.write(np.where(shown, 255, 0).astype(np.uint8))
        file.update_tags(**{f"INTERNAL_MASK_FLAGS_{band + 1}": "0" for band in range(count)})


@pytest.mark.parametrize("nodata", [None, 0])
@pytest.mark.parametrize("place", [NORTH_UP, COARSE], ids=["own", "other"])
@pytest.mark.parametrize("files", [1, 2])
def test_a_mask_of_a_band_hides_that_band(tmp_path: Path, nodata: int | None, place: Affine, files: int) -> None:
    shown = np.ones((2, 16, 16), bool)
    shown[0, :4], shown[1, 12:] = False, False
    pixels = np.where(shown, 100, 250).astype(np.uint16)
    pixels[:, 7, 7] = 0
    paths = []
    for number in range(files):
        part = slice(None) if files == 1 else slice(8 * number, 8 * number + 8)
        there = place @ Affine.translation(part.start or 0, 0)
        paths.append(str(write_raster(tmp_path / f"p{number}.tif", pixels[:, :, part], there, nodata=nodata)))
        own_masks(Path(paths[-1]), shown[:, :, part])
    path = tuple(paths) if files == 2 else paths[0]
    expected = shown.copy()
    if nodata == 0:
        expected[:, 7, 7] = False
    for asked in (("a", "b"), ("b",), ("a",)):
        if place == NORTH_UP:
            sources = Image(grid="a", sources=(source(path, "a", "b"),))
            with sources.open(asked) as raster:
                strip = raster.read(raster.grid.area)
        else:
            fine = write_raster(tmp_path / "fine.tif", np.ones((1, 32, 32), np.uint8))
            near = source(path, "a", "b", resampling="nearest")
            with Image(grid="f", sources=(source(fine, "f"), near)).open(asked) as raster:
                strip = raster.read(raster.grid.area)
        numbers = ["ab".index(band) for band in asked]
        want = expected[numbers].all(0)
        np.testing.assert_array_equal(strip.valid, want if place == NORTH_UP else want.repeat(2, 0).repeat(2, 1))
        assert (strip.values[:, strip.valid] <= 100).all()
    with opened(path, ("a", "b"), mask=False) as raster:
        assert raster.read(raster.grid.area).valid[0].all()


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_value_that_becomes_nodata_by_resampling_is_still_one(tmp_path: Path, dtype: str, count: int) -> None:
    pixels = np.full((count, 16, 16), 4, dtype)
    pixels[:, 2:4, 2:4] = [[-1, 1], [1, -1]]  # their mean is nodata
    pixels[:, 8:10, 8:10] = 0
    write_raster(tmp_path / "a.tif", pixels, nodata=0)
    wide = write_raster(tmp_path / "wide.tif", np.ones((1, 8, 8), np.uint8), COARSE)
    bands = "ab"[:count]
    sources = (source(wide, "w"), source(tmp_path / "a.tif", *bands, resampling="average"))
    with Image(grid="w", sources=sources).open([*bands]) as raster:
        strip = raster.read(raster.grid.area)
    assert strip.valid.sum() == 63
    assert not strip.valid[4, 4]
    np.testing.assert_array_equal(strip.values[:, 1, 1], 1 if dtype == "int16" else np.nextafter(np.float32(0), 1))


def test_overshoot_to_nodata_is_a_value(tmp_path: Path) -> None:
    pixels = np.where(np.arange(16) < 8, 2, 60_000).astype(np.uint16)[None, None].repeat(16, 1)
    strip = on_fine_grid(write_raster(tmp_path / "a.tif", pixels, COARSE, nodata=0), "a", resampling="cubic")
    assert strip.valid.all()
    assert strip.values.min() == 1


WIDE = [("int64", 2**63 - 1), ("int64", -(2**63)), ("int64", 2**60 + 1), ("uint64", 2**64 - 1), ("int64", -1)]


@pytest.mark.parametrize(("dtype", "nodata"), WIDE)
@pytest.mark.parametrize("said_by", ["file", "catalog"])
def test_nodata_of_64_bits_is_exact(tmp_path: Path, dtype: str, nodata: int, said_by: str) -> None:
    pixels = np.full((1, 16, 16), 5, dtype)
    pixels[0, :4], pixels[0, 4] = nodata, nodata + (1 if nodata < 0 else -1)
    path = write_virtual(tmp_path / "a.vrt", pixels, [nodata])
    if said_by == "file":
        rasterio.shutil.copy(path, tmp_path / "b.tif", driver="GTiff")
        found = opened(tmp_path / "b.tif")
    else:
        found = opened(tmp_path / "a.tif", nodata=nodata)
    with found as raster:
        assert raster.bands[0].nodata == nodata
        np.testing.assert_array_equal(raster.read(raster.grid.area).valid, (np.arange(16) >= 4)[:, None].repeat(16, 1))
        np.testing.assert_array_equal(raster.read(raster.grid.area).values, pixels)


@pytest.mark.parametrize(("dtype", "nodata"), WIDE)
def test_64_bits_on_another_grid(tmp_path: Path, dtype: str, nodata: int) -> None:
    pixels = np.full((1, 16, 16), 5, dtype)
    pixels[0, :4] = nodata
    path = write_virtual(tmp_path / "a.vrt", pixels, [nodata], COARSE)
    strip = on_fine_grid(path, "a", resampling="nearest")
    np.testing.assert_array_equal(strip.valid, (np.arange(32) >= 8)[:, None].repeat(32, 1))
    assert (strip.values[0][strip.valid] == 5).all()
    pixels[0, 9, 9] = 2**53 + 1
    write_virtual(tmp_path / "b.vrt", pixels, [nodata], COARSE)
    with pytest.raises(ImageError, match=r"64-bit(.|\n)*b\.vrt(.|\n)*got: 9007199254740992(.|\n)*hint"):
        on_fine_grid(tmp_path / "b.vrt", "a", resampling="nearest")
