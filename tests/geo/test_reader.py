"""Sources of other CRS, resolution and extent on the image's grid; each block is decoded once."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.warp import calculate_default_transform, reproject, transform_bounds

from quadrat.errors import ImageError
from quadrat.geo.grids.windows import Window, whole
from quadrat.geo.reading import open_image as raster_module
from quadrat.scenes.image import Image
from tests.geo.test_open_image import source
from tests.ground import NORTH_UP, UTM, opened, write_raster

GRID = (40, 56)


def smooth(shape: tuple[int, int]) -> np.ndarray:
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return 2000 + 1000 * np.sin(rows / 5) + 700 * np.cos(cols / 7)


def write_other(path: Path, crs: str, dtype: str, nodata: float | None) -> Path:
    """Write an image in another CRS, with larger pixels, that leaves the right third of the grid bare."""
    left, top = NORTH_UP @ (-3, -3)
    right, bottom = NORTH_UP @ (37, 43)
    bounds = transform_bounds(UTM, crs, left, bottom, right, top)
    transform, width, height = calculate_default_transform(crs, crs, 20, 24, *bounds)
    return write_raster(path, smooth((height, width)).astype(dtype)[None], transform, crs, nodata)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32632", "EPSG:3857"])
@pytest.mark.parametrize(("dtype", "nodata"), [("uint16", 0), ("uint16", None), ("float32", None), ("int32", -1)])
@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_a_file_in_another_crs_is_read_as_gdal_reprojects_it(
    tmp_path: Path, crs: str, dtype: str, nodata: float | None, resampling: str
) -> None:
    fine = write_raster(tmp_path / "fine.tif", np.ones((1, *GRID), np.uint16))
    other = write_other(tmp_path / "other.tif", crs, dtype, nodata)
    expected = np.full(GRID, -99, np.float64)
    with rasterio.open(other) as file:
        reproject(
            file.read(1).astype(float), expected, src_transform=file.transform, src_crs=crs, dst_nodata=-99,
            dst_transform=NORTH_UP, dst_crs=UTM, resampling=Resampling[resampling], tolerance=1e-3,
        )  # fmt: skip
    image = Image(grid="f", sources=(source(fine, "f"), source(other, "o", resampling=resampling)))
    with image.open(["o"]) as raster:
        strip = raster.read(whole(GRID))
        parts = [*raster.strips(whole(GRID), 7)]
        window = raster.read(Window(11, 13, 20, 30))
    np.testing.assert_array_equal(strip.valid, expected != -99)
    assert strip.valid[:, :30].all()
    assert not strip.valid[:, 42:].any()
    np.testing.assert_allclose(strip.values[0][strip.valid], expected[strip.valid], atol=1)
    np.testing.assert_array_equal(np.concatenate([p.values for p in parts], axis=1), strip.values)
    np.testing.assert_array_equal(np.concatenate([p.valid for p in parts]), strip.valid)
    np.testing.assert_array_equal(window.values, strip.values[:, 11:31, 13:43])
    np.testing.assert_array_equal(window.valid, strip.valid[11:31, 13:43])


@given(st.data())
def test_windows_do_not_change_pixels(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Bands of three CRSs, one a mosaic, one with a mask: any window is that of the whole."""
    folder = tmp_path_factory.getbasetemp() / "three"
    if not folder.exists():
        write_raster(folder / "fine.tif", smooth(GRID).astype(np.uint8)[None])
        write_other(folder / "other.tif", "EPSG:4326", "uint16", None)
        coarse = NORTH_UP @ Affine.scale(6)
        for n in (0, 1):
            path = write_raster(folder / f"m{n}.tif", smooth((8, 4)).astype(np.uint16)[None], coarse)
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
                file.write_mask(np.where(smooth((8, 4)) > 2000, 255, 0).astype(np.uint8))
            coarse @= Affine.translation(5, 0)
    sources = (source(folder / "fine.tif", "f"), source(folder / "other.tif", "o"), source(str(folder / "m*.tif"), "m"))
    with Image(grid="f", sources=sources).open(["m", "o", "f"]) as raster:
        at_once = raster.read(raster.grid.area)
    row, col = data.draw(st.integers(0, GRID[0] - 1)), data.draw(st.integers(0, GRID[1] - 1))
    area = Window(row, col, data.draw(st.integers(1, GRID[0] - row)), data.draw(st.integers(1, GRID[1] - col)))
    with Image(grid="f", sources=sources).open(["m", "o", "f"]) as raster:
        for strip in raster.strips(area, data.draw(st.integers(1, 50))):
            rows, cols = strip.window.slices()
            np.testing.assert_array_equal(strip.values, at_once.values[:, rows, cols])
            np.testing.assert_array_equal(strip.valid, at_once.valid[rows, cols])


@pytest.mark.parametrize("crs", [UTM, "EPSG:4326", "EPSG:32733"])
def test_a_source_elsewhere(tmp_path: Path, crs: str) -> None:
    fine = write_raster(tmp_path / "fine.tif", np.ones((1, *GRID), np.uint16))
    transform = Affine(0.001, 0, 30, 0, -0.001, 10) if crs == "EPSG:4326" else NORTH_UP @ Affine.translation(500, 0)
    other = write_raster(tmp_path / "other.tif", np.ones((1, 9, 9), np.uint16), transform, crs)
    image = Image(grid="f", sources=(source(fine, "f"), source(other, "o")))
    with pytest.raises(ImageError, match=r"does not overlap the image's grid(.|\n)*other\.tif(.|\n)*EPSG"):
        image.open(["o"])
    with image.open(["f"]):  # what isn't asked for isn't opened
        pass


def test_a_source_in_a_local_crs(tmp_path: Path) -> None:
    fine = write_raster(tmp_path / "fine.tif", np.ones((1, *GRID), np.uint16))
    local = write_raster(tmp_path / "local.tif", np.ones((1, 9, 9), np.uint16), crs='LOCAL_CS["mine",UNIT["foot",0.3]]')
    with pytest.raises(ImageError, match=r"no transformation is known(.|\n)*local\.tif"):
        Image(grid="f", sources=(source(fine, "f"), source(local, "l"))).open(["l"])


class Counting:
    """A dataset that counts how often each block of each band is asked for."""

    def __init__(self, dataset: Any, asked: Counter[tuple[int, int, int]]) -> None:
        self._dataset, self._asked = dataset, asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)

    def read(self, numbers: list[int], window: rasterio.windows.Window, **options: Any) -> np.ndarray:
        for number in numbers:
            height, width = self._dataset.block_shapes[number - 1]
            for row in range(window.row_off // height, -(-(window.row_off + window.height) // height)):
                for col in range(window.col_off // width, -(-(window.col_off + window.width) // width)):
                    self._asked[number, row, col] += 1
        return self._dataset.read(numbers, window=window, **options)


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("alpha", [False, True])
def test_each_block_is_asked_for_once(tmp_path: Path, interleave: str, alpha: bool) -> None:
    pixels = np.random.default_rng(0).integers(1, 255, (4, 700, 300)).astype(np.uint8)
    tiles = {"tiled": True, "blockxsize": 128, "blockysize": 128, "interleave": interleave}
    path = write_raster(tmp_path / "a.tif", pixels, photometric="RGB", alpha="YES" if alpha else "NO", **tiles)
    asked: Counter[tuple[int, int, int]] = Counter()
    with opened(path, ("r", "g", "b")) as raster:
        (reader,) = raster._readers  # one file, one handle: what is decoded for one band is there for the others
        object.__setattr__(reader, "dataset", Counting(reader.dataset, asked))
        found = np.concatenate([s.values for s in raster.strips(raster.grid.area, raster.strip_height)], axis=1)
    np.testing.assert_array_equal(found, pixels[:3])
    assert set(asked.values()) == {1}
    assert len(asked) == 6 * 3 * (4 if alpha else 3)


@pytest.mark.parametrize("bytes_", [1, 3 * 128 * 128, 2 * 3 * 128 * 128, 1 << 30])
@pytest.mark.parametrize("area", [Window(0, 0, 700, 300), Window(100, 130, 333, 111)])
def test_tiles_ask_for_each_block_once_and_are_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_: int, area: Window
) -> None:
    monkeypatch.setattr(raster_module, "TILE_BYTES", bytes_)
    pixels = np.random.default_rng(0).integers(1, 255, (3, 700, 300)).astype(np.uint8)
    path = write_raster(tmp_path / "a.tif", pixels, tiled=True, blockxsize=128, blockysize=128, interleave="band")
    asked: Counter[tuple[int, int, int]] = Counter()
    found = np.zeros_like(pixels)
    with opened(path, ("r", "g", "b")) as raster:
        (reader,) = raster._readers
        object.__setattr__(reader, "dataset", Counting(reader.dataset, asked))
        for tile in raster.tiles(area):
            assert tile.values.nbytes <= max(bytes_, 3 * 128 * 128)
            found[:, *tile.window.slices()] += tile.values
    rows, cols = area.slices()
    np.testing.assert_array_equal(found[:, rows, cols], pixels[:, rows, cols])
    assert found.sum() == pixels[:, rows, cols].sum(dtype=np.int64)
    assert set(asked.values()) == {1}
