"""Files that make up one image are read as one array would be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from quadrat.errors import ImageError
from quadrat.geo.grids.windows import Window, whole
from quadrat.scenes.image import Image
from tests.geo.test_open_image import source
from tests.ground import NORTH_UP, image, write_raster

ROTATED = NORTH_UP @ Affine.rotation(30)
SOUTH_UP = Affine(10.0, 0.0, 330_000.0, 0.0, 10.0, 5_000_000.0)


def write_pieces(folder: Path, pieces: dict[tuple[int, int], np.ndarray], **options: Any) -> list[str]:
    """Write (band, y, x) arrays by their (row, col) on one grid, in order."""
    transform = options.pop("transform", NORTH_UP)
    return [
        str(write_raster(folder / f"{n}.tif", pixels, transform @ Affine.translation(col, row), **options))
        for n, ((row, col), pixels) in enumerate(pieces.items())
    ]


def of(paths: list[str], *bands: str, **options: Any) -> Image:
    return image(tuple(paths), bands, **options)


def painted(
    pieces: dict[tuple[int, int], np.ndarray], shape: tuple[int, int], nodata: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a mosaic should be: (band, y, x), and where there is a value (y, x)."""
    first = next(iter(pieces.values()))
    values = np.full((len(first), *shape), 0 if nodata is None else nodata, first.dtype)
    covered = np.zeros(values.shape, bool)
    for (row, col), pixels in pieces.items():
        there = (slice(None), slice(row, row + pixels.shape[1]), slice(col, col + pixels.shape[2]))
        new = ~covered[there] & (True if nodata is None else pixels != nodata)
        values[there][new] = pixels[new]
        covered[there] |= new
    return values, covered.all(0)


@given(st.data())
def test_any_window_is_that_of_the_files_painted_in_reverse(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    dtype = data.draw(st.sampled_from(["uint8", "uint16", "int32", "uint32", "float32", "float64"]))
    nodata = data.draw(st.sampled_from([None, 3]))
    transform = data.draw(st.sampled_from([NORTH_UP, SOUTH_UP, ROTATED]))
    corners = data.draw(
        st.lists(st.tuples(st.integers(0, 25), st.integers(0, 25)), min_size=1, max_size=4, unique=True)
    )
    pieces = {(0, 0): generator.integers(0, 9, (2, 6, 7)).astype(dtype)}
    for corner in corners:
        size = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
        pieces[corner] = generator.integers(0, 9, (2, *size)).astype(dtype)
    pieces = dict(data.draw(st.permutations(list(pieces.items()))))
    shape = tuple(max(place[axis] + pixels.shape[axis + 1] for place, pixels in pieces.items()) for axis in (0, 1))
    folder = tmp_path_factory.mktemp("mosaic")
    values, valid = painted(pieces, shape, nodata)
    with of(write_pieces(folder, pieces, nodata=nodata, transform=transform), "a", "b").open(["b", "a"]) as raster:
        assert raster.grid.shape == shape
        assert raster.grid.transform == transform or len(pieces) == 1
        for window in [raster.grid.area, *raster_windows(data, shape)]:
            strip = raster.read(window)
            inside = window.slices()
            np.testing.assert_array_equal(strip.valid, valid[inside])
            np.testing.assert_array_equal(
                strip.values[:, strip.valid], values[::-1][(slice(None), *inside)][:, strip.valid]
            )
        assert raster.dtype == dtype


def raster_windows(data: st.DataObject, shape: tuple[int, int]) -> list[Window]:
    windows = []
    for _ in range(3):
        row, col = data.draw(st.integers(0, shape[0] - 1)), data.draw(st.integers(0, shape[1] - 1))
        height, width = data.draw(st.integers(1, shape[0] - row)), data.draw(st.integers(1, shape[1] - col))
        windows.append(Window(row, col, height, width))
    return windows


def test_a_pattern_means_its_files_in_order_of_their_names(tmp_path: Path) -> None:
    write_pieces(tmp_path, {(0, 0): np.ones((1, 4, 4), np.uint8), (0, 2): np.full((1, 4, 4), 2, np.uint8)})
    with image(str(tmp_path / "*.tif")).open(["a"]) as raster:
        np.testing.assert_array_equal(raster.read(whole((4, 6))).values[0, 0], [1, 1, 1, 1, 2, 2])
    with pytest.raises(ImageError, match=r"no file matches(.|\n)*\*\.jp2"):
        image(str(tmp_path / "*.jp2")).open(["a"])


def test_a_pattern_for_each_band(tmp_path: Path) -> None:
    for band in ("a", "b"):
        for place in (0, 1):
            pixels = np.full((1, 3, 3), ord(band) + place, np.uint8)
            write_raster(tmp_path / f"{place}_{band}.tif", pixels, NORTH_UP @ Affine.translation(3 * place, 0))
    with image(str(tmp_path / "*_{band}.tif"), ("a", "b")).open(["b", "a"]) as raster:
        np.testing.assert_array_equal(raster.read(whole((3, 6))).values[:, 0, ::3], [[98, 99], [97, 98]])


def test_masks_of_files_tell_what_shows(tmp_path: Path) -> None:
    paths = write_pieces(tmp_path, {(0, 0): np.ones((1, 4, 4), np.uint8), (0, 2): np.full((1, 4, 4), 2, np.uint8)})
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(paths[0], "r+") as file:
        file.write_mask(np.array([[255, 0, 255, 0]] * 4, np.uint8))
    with of(paths, "a").open(["a"]) as raster:
        strip = raster.read(whole((4, 6)))
    np.testing.assert_array_equal(strip.valid[0], [True, False, True, True, True, True])
    np.testing.assert_array_equal(strip.values[0, 0][strip.valid[0]], [1, 1, 2, 2, 2])


def test_a_mosaic_is_resampled_as_one(tmp_path: Path) -> None:
    """No seam: what is left and right of a file's edge is what it is in one file."""
    pixels = np.random.default_rng(0).integers(1, 9000, (1, 12, 20)).astype(np.uint16)
    fine = write_raster(tmp_path / "fine.tif", np.ones((1, 72, 120), np.uint16))
    one = write_raster(tmp_path / "one.tif", pixels, NORTH_UP @ Affine.scale(6))
    coarse = NORTH_UP @ Affine.scale(6)
    two = write_pieces(tmp_path / "p", {(0, 0): pixels[:, :, :7], (0, 7): pixels[:, :, 7:]}, transform=coarse)
    found = []
    for path in (one, tuple(two)):
        whole_image = Image(grid="f", sources=(source(fine, "f"), source(path, "c")))
        with whole_image.open(["c"]) as raster:
            at_once = raster.read(raster.grid.area)
            parts = [*raster.strips(raster.grid.area, 13)]
        np.testing.assert_array_equal(np.concatenate([p.values for p in parts], axis=1), at_once.values)
        found.append(at_once)
    np.testing.assert_allclose(found[0].values, found[1].values.astype(int), atol=1)  # GDAL rounds masked edges apart
    np.testing.assert_array_equal(found[0].values[:, :, 6:], found[1].values[:, :, 6:])
    np.testing.assert_array_equal(found[0].valid, found[1].valid)
    assert found[0].valid.all()


def test_holes_stay_holes_after_resampling(tmp_path: Path) -> None:
    fine = write_raster(tmp_path / "fine.tif", np.ones((1, 24, 48), np.uint8))
    ones = np.ones((1, 4, 2), np.uint8)
    paths = write_pieces(tmp_path / "p", {(0, 0): ones, (0, 6): ones}, transform=NORTH_UP @ Affine.scale(6))
    whole_image = Image(grid="f", sources=(source(fine, "f"), source(tuple(paths), "c")))
    with whole_image.open(["c"]) as raster:
        strip = raster.read(raster.grid.area)
    np.testing.assert_array_equal(strip.valid[0], np.repeat([True, True, False, False, False, False, True, True], 6))
    assert (strip.values[0][strip.valid] == 1).all()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"crs": "EPSG:32632"}, "different CRSs"),
        ({"transform": NORTH_UP @ Affine.scale(2)}, "different size"),
        ({"transform": NORTH_UP @ Affine.rotation(3)}, "different size or direction"),
        ({"transform": NORTH_UP @ Affine.translation(0.5, 0)}, "not aligned"),
        ({"nodata": 5}, "different nodata"),
        ({"dtype": "uint16"}, "different data type"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    write_raster(tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8))
    write_raster(tmp_path / "b.tif", np.ones((1, 4, 4), change.pop("dtype", "uint8")), **change)
    with pytest.raises(ImageError, match=rf"{problem}(.|\n)*b\.tif(.|\n)*a\.tif(.|\n)*hint"):
        image(str(tmp_path / "*.tif")).open(["a"])


def test_nodata_of_the_catalog_settles_that_of_the_files(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", np.array([[[0, 1]]], np.uint8), nodata=5)
    write_raster(tmp_path / "b.tif", np.array([[[7, 5]]], np.uint8), nodata=1)
    with image(str(tmp_path / "*.tif"), nodata=0.0, ignore_tags=True).open(["a"]) as raster:
        np.testing.assert_array_equal(raster.read(whole((1, 2))).values[0], [[7, 1]])


def test_photos_without_a_place_are_no_mosaic(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_raster(tmp_path / f"{name}.tif", np.ones((1, 4, 4), np.uint8), Affine.identity(), None)
    with pytest.raises(ImageError, match="need georeferences"):
        image(str(tmp_path / "*.tif")).open(["a"])


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 9, (1, 500, 500), np.uint8)
    paths = write_pieces(tmp_path, {(0, 0): noise, (0, 500): noise})
    Path(paths[1]).write_bytes(Path(paths[1]).read_bytes()[:120_000])
    with of(paths, "a").open(["a"]) as raster, pytest.raises(ImageError, match=r"damaged(.|\n)*got:.*1\.tif"):
        list(raster.strips(raster.grid.area, 64))
