"""An image is brought to another CRS and size of pixels while it is read, with its labels; rasterio is the oracle."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rasterio.crs import CRS
from rasterio.warp import Resampling, reproject
from rasterio.warp import transform as warp

from quadrat.errors import ImageError, LabelError
from quadrat.geo.grids.windows import Window
from quadrat.geo.reading.open_image import Raster
from quadrat.labels.labels import open_labels
from quadrat.labels.raster import RasterLabels
from quadrat.labels.vector import VectorLabels
from quadrat.scenes.image import Clear, Image, Source
from tests.ground import NORTH_UP, UTM, legend, pixel_box, smooth, write_areas, write_raster

SHAPE = (90, 70)
SHIFTED = NORTH_UP @ Affine.translation(0.3, 0.4)


def target(path: Path, bands: tuple[str, ...] = ("a",), source: Any = None, **grid: Any) -> Image:
    about = {"path": str(path), "bands": bands, **(source or {})}
    return Image.model_validate({"grid": {"resampling": "average", **grid}, "sources": [about]}, strict=False)


def written(path: Path, nodata: float | None = None, transform: Affine = NORTH_UP, crs: str | None = UTM) -> np.ndarray:
    pixels = (smooth(SHAPE, 3) * 5000 + 1).astype(np.uint16)[None]
    if nodata is not None:
        pixels[:, 20:37, 11:40] = nodata
    write_raster(path, pixels, transform, crs, nodata)
    return pixels


def whole(raster: Raster) -> Any:
    return raster.read(raster.grid.area)


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "average"])
@pytest.mark.parametrize(("crs", "resolution"), [(None, 20.0), (None, 3.7), ("EPSG:3857", 25.0), ("EPSG:4326", 3e-4)])
def test_pixels_are_those_that_gdal_warps_at_once(
    tmp_path: Path, resampling: str, crs: str | None, resolution: float
) -> None:
    pixels = written(tmp_path / "a.tif", nodata=0, transform=SHIFTED)
    with target(tmp_path / "a.tif", crs=crs, resolution=resolution, resampling=resampling).open(["a"]) as raster:
        strip, grid = whole(raster), raster.grid
    assert grid.crs == CRS.from_user_input(crs or UTM)
    expected = np.zeros((1, *grid.shape), np.uint16)
    reproject(
        pixels,
        expected,
        src_transform=SHIFTED,
        src_crs=UTM,
        dst_transform=grid.transform,
        dst_crs=grid.crs,
        src_nodata=0,
        dst_nodata=0,
        resampling=Resampling[resampling],
        tolerance=1e-3,
    )
    assert (strip.valid == (expected[0] != 0)).mean() > 0.995  # which edges of holes count is rounding
    both = strip.valid & (expected[0] != 0)
    assert both.mean() > 0.5
    different = np.abs(strip.values[0][both].astype(int) - expected[0][both]) > 1
    assert different.mean() < 0.005
    assert (strip.values[0][~strip.valid] == 0).all()


def test_the_grid_begins_at_the_corner_of_the_image_and_holds_it(tmp_path: Path) -> None:
    written(tmp_path / "a.tif", transform=SHIFTED)
    with target(tmp_path / "a.tif", resolution=20).open(["a"]) as raster:
        grid = raster.grid
    assert (grid.transform.a, grid.transform.e) == (20, -20)
    left, bottom, right, top = grid.footprint(grid.area).bounds
    with rasterio.open(tmp_path / "a.tif") as file:
        own = file.bounds
    assert (left, top) == (own.left, own.top)
    assert right - 20 < own.right <= right
    assert bottom <= own.bottom < bottom + 20
    assert grid.gsd == pytest.approx(20, rel=1e-3)


def test_a_coarse_pixel_is_the_mean_of_the_fine_ones(tmp_path: Path) -> None:
    pixels = written(tmp_path / "a.tif")
    with target(tmp_path / "a.tif", resolution=20).open(["a"]) as raster:
        strip = whole(raster)
    means = pixels[0].reshape(45, 2, 35, 2).mean((1, 3))
    assert strip.valid.all()
    np.testing.assert_allclose(strip.values[0], means, atol=0.5001)


def test_the_grid_of_the_files_itself_changes_no_pixel(tmp_path: Path) -> None:
    pixels = written(tmp_path / "a.tif", nodata=0)
    with target(tmp_path / "a.tif", resolution=10, crs=UTM).open(["a"]) as raster:
        assert raster.grid.transform == NORTH_UP
        np.testing.assert_array_equal(whole(raster).values, pixels)


def test_without_a_resolution_the_image_keeps_its_detail(tmp_path: Path) -> None:
    written(tmp_path / "a.tif")
    with target(tmp_path / "a.tif", crs="EPSG:3857").open(["a"]) as raster:
        assert raster.grid.gsd == pytest.approx(10, rel=0.05)  # m on the ground, of which Web Mercator's are more
        assert raster.grid.transform.a > 15


@pytest.mark.parametrize("angle", [30, 45, 100])
def test_an_image_that_is_turned_keeps_its_detail(tmp_path: Path, angle: float) -> None:
    turned = NORTH_UP @ Affine.rotation(angle)
    written(tmp_path / "a.tif", transform=turned)
    for crs, tolerance in ((UTM, 0.01), ("EPSG:3857", 0.05), ("EPSG:4326", 0.3)):
        with target(tmp_path / "a.tif", crs=crs).open(["a"]) as raster:
            assert raster.grid.gsd == pytest.approx(10, rel=tolerance)


@given(data=st.data())
def test_windows_do_not_change_pixels(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("windows")
    written(root / "a.tif", nodata=0)
    with target(root / "a.tif", crs="EPSG:3857", resolution=22).open(["a"]) as raster:
        everything, (height, width) = whole(raster), raster.grid.shape
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        window = Window(top, left, data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left)))
        part = raster.read(window)
        np.testing.assert_array_equal(part.values, everything.values[:, *window.slices()])
        np.testing.assert_array_equal(part.valid, everything.valid[window.slices()])


def test_labels_lie_where_the_pixels_do(tmp_path: Path) -> None:
    """A class is where the pixel's centre is: in polygons, and in a raster of the files' own grid."""
    written(tmp_path / "a.tif")
    area = pixel_box(13, 21, 52, 66)
    write_areas(tmp_path / "l.gpkg", [area], {"kind": ["thing"]})
    ids = np.zeros((1, *SHAPE), np.uint8)
    ids[0, 21:66, 13:52] = 1
    write_raster(tmp_path / "l.tif", ids)
    mapping = legend(rest=["0", "rest"], thing=["1", "thing"])
    vector = VectorLabels(kind="vector", path=str(tmp_path / "l.gpkg"), field="kind", background="rest")
    raster_labels = RasterLabels(kind="raster", path=str(tmp_path / "l.tif"), values="ids")
    with target(tmp_path / "a.tif", crs="EPSG:3857", resolution=21).open(["a"]) as raster:
        grid = raster.grid
        rows, cols = np.indices(grid.shape) + 0.5
        x, y = grid.transform @ (cols, rows)
        east, north = (np.reshape(v, grid.shape) for v in warp(grid.crs, CRS.from_string(UTM), x.ravel(), y.ravel()))
        col, row = ~NORTH_UP @ (east, north)
        truth = (col >= 13) & (col < 52) & (row >= 21) & (row < 66)
        for source in (vector, raster_labels):
            with open_labels((source,), grid, mapping, "s") as labels:
                assert labels is not None
                found = labels.class_ids(grid.area, all_touched=False) == 1
            assert (found != truth).sum() <= 2, source  # centres within a thousandth of an edge


def test_a_photo_without_a_place_is_made_coarser(tmp_path: Path) -> None:
    pixels = written(tmp_path / "a.tif", transform=Affine.identity(), crs=None)
    with target(tmp_path / "a.tif", resolution=2).open(["a"]) as raster:
        assert (raster.grid.shape, raster.grid.transform) == ((45, 35), Affine.scale(2))
        np.testing.assert_allclose(whole(raster).values[0], pixels[0].reshape(45, 2, 35, 2).mean((1, 3)), atol=0.5001)


def test_raster_labels_of_a_photo_are_made_coarser_with_it(tmp_path: Path) -> None:
    written(tmp_path / "a.tif", transform=Affine.identity(), crs=None)
    ids = np.random.default_rng(1).integers(0, 2, (1, *SHAPE)).astype(np.uint8)
    write_raster(tmp_path / "l.tif", ids, Affine.identity(), None)
    write_raster(tmp_path / "other.tif", ids[:, 4:], Affine.identity(), None)
    mapping = legend(rest=["0", "rest"], thing=["1", "thing"])
    with target(tmp_path / "a.tif", resolution=4).open(["a"]) as raster:
        grid = raster.grid
    centres = np.minimum(np.arange(grid.shape[0]) * 4 + 2, 89), np.minimum(np.arange(grid.shape[1]) * 4 + 2, 69)
    with open_labels(
        (RasterLabels(kind="raster", path=str(tmp_path / "l.tif"), values="ids"),), grid, mapping, "s"
    ) as labels:
        assert labels is not None
        found = labels.class_ids(grid.area, all_touched=False)
    inside = (np.arange(grid.shape[0]) * 4 + 2 < 90)[:, None] & (np.arange(grid.shape[1]) * 4 + 2 < 70)
    np.testing.assert_array_equal(found, np.where(inside, ids[0][np.ix_(*centres)], 255))
    other = RasterLabels(kind="raster", path=str(tmp_path / "other.tif"), values="ids")
    with pytest.raises(LabelError, match="the image's own pixels"), open_labels((other,), grid, mapping, "s"):
        pass


def test_a_source_keeps_the_resampling_that_it_says(tmp_path: Path) -> None:
    pixels = written(tmp_path / "a.tif")
    nearest = {"resampling": "nearest"}
    with target(tmp_path / "a.tif", source=nearest, resolution=20).open(["a"]) as raster:
        assert np.isin(whole(raster).values, pixels).all()
    said = target(tmp_path / "a.tif", resolution=20).sources[0]
    assert said.resampling == "average"
    with pytest.raises(ValidationError, match="its resampling is 'nearest'"):
        Image(
            grid={"resolution": 20.0, "resampling": "average"},
            clear=Clear(band="a", values=(1,)),
            sources=(Source(path="a.tif", bands=("a",)),),
        )


def refused(path: Path, message: str, **grid: Any) -> None:
    with pytest.raises(ImageError, match=message), target(path, **grid).open(["a"]):
        pass


def test_what_can_not_be_is_told(tmp_path: Path) -> None:
    written(tmp_path / "a.tif")
    refused(tmp_path / "a.tif", r"too few or too many pixels(.|\n)*units of the CRS", crs="EPSG:4326", resolution=10)
    refused(tmp_path / "a.tif", r"too few or too many pixels(.|\n)*units of the CRS", resolution=0.0001)
    written(tmp_path / "photo.tif", transform=Affine.identity(), crs=None)
    refused(tmp_path / "photo.tif", r"without a CRS(.|\n)*EPSG:3857", crs="EPSG:3857")
    written(tmp_path / "seam.tif", transform=Affine(0.01, 0, 179.8, 0, -0.01, 10), crs="EPSG:4326")
    refused(tmp_path / "seam.tif", r"over its edge(.|\n)*EPSG:3857", crs="EPSG:3857", resolution=1000)
    with pytest.raises(ValidationError, match=r"'EPSG:99999999' is no CRS"):
        target(tmp_path / "a.tif", crs="EPSG:99999999")
    with pytest.raises(ValidationError, match="needs a 'crs', a 'resolution', or both"):
        target(tmp_path / "a.tif")
