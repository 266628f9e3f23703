"""Whatever file a catalog names: an error that names scene and file, and the scene's other errors beside it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine, TransformNotInvertibleError
from pyproj.exceptions import CRSError
from rasterio._err import CPLE_AppDefinedError
from scipy.io import netcdf_file
from shapely.errors import GEOSException

from quadrat.errors import AOIError, ImageError, LabelError, QuadratError
from quadrat.geo.files.file_errors import library_errors_as
from quadrat.geo.sources.bands import Band
from quadrat.geo.sources.source import Source
from quadrat.geo.statistics.band_statistics import BandStatistics
from quadrat.labels.labels import LabelSource
from quadrat.labels.raster import RasterLabels
from quadrat.labels.vector import VectorLabels
from quadrat.models import Inputs
from quadrat.preflight.survey import survey
from quadrat.scenes.image import Image
from quadrat.scenes.scene import Scene
from quadrat.serving.new_images import Reading, offered
from tests.ground import NORTH_UP, UTM, image, legend, opened, pixel_box, write_areas, write_raster

PIXELS = np.full((1, 40, 40), 7, np.uint8)
TASK = legend(wood=["wood", "7"], lake=["lake"])


def container(path: Path) -> Path:
    """Write a netCDF of two variables, x (7) and y (8)."""
    with netcdf_file(path, "w") as file:
        file.createDimension("lat", 4)
        file.createDimension("lon", 4)
        for name, value in (("x", 7), ("y", 8)):
            file.createVariable(name, "i2", ("lat", "lon"))[:] = value
    return path


def placed(path: Path, transform: str, source: str = "good.tif") -> Path:
    """Write a virtual raster with that transform, as GDAL writes one."""
    path.write_text(
        f'<VRTDataset rasterXSize="40" rasterYSize="40"><SRS>EPSG:32633</SRS><GeoTransform>{transform}</GeoTransform>'
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{source}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    )
    return path


def cut(path: Path, size: int) -> Path:
    path.write_bytes(write_raster(path, PIXELS).read_bytes()[:size])
    return path


def linked(path: Path, to: str) -> Path:
    path.symlink_to(to)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


ODD: dict[str, Callable[[Path], object]] = {
    "several variables": lambda root: container(root / "a.nc"),
    "no such variable": lambda root: f"NETCDF:{container(root / 'a.nc')}:z",
    "vectors": lambda root: write_areas(root / "a.gpkg", [pixel_box(0, 0, 9, 9)], {"kind": ["wood"]}),
    "nothing": lambda root: cut(root / "a.tif", 0),
    "a header alone": lambda root: cut(root / "a.tif", 8),
    "a text": lambda root: (root / "a.tif").write_text("hello") and root / "a.tif",
    "a folder": lambda root: folder(root / "a.tif"),
    "a dangling link": lambda root: linked(root / "a.tif", "nowhere.tif"),
    "a link to itself": lambda root: linked(root / "a.tif", "a.tif"),
    "no file": lambda root: root / "a.tif",
    "no place that is a number": lambda root: placed(root / "a.vrt", "nan, 10, 0, 5822040, 0, -10"),
    "pixels of infinite size": lambda root: placed(root / "a.vrt", "330000, inf, 0, 5822040, 0, -10"),
    "pixels of no size": lambda root: placed(root / "a.vrt", "330000, 0, 0, 5822040, 0, 0"),
    "pixels on a line": lambda root: placed(root / "a.vrt", "330000, 10, 10, 5822040, 10, 10"),
    "complex numbers": lambda root: write_raster(root / "a.tif", PIXELS.astype(np.complex64)),
    "a name that is no text": lambda root: root / "a\udcff.tif",
    "a name that is too long": lambda root: root / ("a" * 5000),
}


@pytest.fixture
def ground(tmp_path: Path) -> Path:
    write_raster(tmp_path / "good.tif", PIXELS)
    write_areas(tmp_path / "l.gpkg", [pixel_box(0, 0, 40, 40)], {"kind": ["wood"]})
    write_areas(tmp_path / "away.gpkg", [pixel_box(900, 0, 950, 9)], {"kind": ["lake"]})
    return tmp_path


def looked(picture: Image, labels: LabelSource, *aoi: str) -> list[QuadratError]:
    return list(survey(Scene("s", "train", picture, (labels,), aoi), bands=("a",), task=TASK).errors)


def vectors(path: Path) -> VectorLabels:
    return VectorLabels(kind="vector", path=str(path), field="kind")


@pytest.mark.parametrize("how", ODD)
def test_an_image_that_is_none_is_an_error_beside_those_of_labels(ground: Path, how: str) -> None:
    path = str(ODD[how](ground))
    found = looked(image(path), vectors(ground / "gone.gpkg"))
    assert [(type(one), one.scene, one.file) for one in found] == [
        (ImageError, "s", path),
        (LabelError, "s", str(ground / "gone.gpkg")),
    ]
    scene = Scene("s", "train", image(path), (vectors(ground / "l.gpkg"),), ())
    with pytest.raises(ImageError, match=r"\n  scene: s\n  file: "), scene.open(("a",), TASK):
        pass


@pytest.mark.parametrize("how", ODD)
def test_labels_that_are_no_raster_are_an_error_beside_those_of_the_area(ground: Path, how: str) -> None:
    path, away = str(ODD[how](ground)), str(ground / "away.gpkg")
    found = looked(image(ground / "good.tif"), RasterLabels(kind="raster", path=path, values="ids"), away)
    assert [(type(one), one.scene, one.file) for one in found] == [(AOIError, "s", away), (LabelError, "s", path)]


@pytest.mark.parametrize("how", ODD)
def test_an_area_that_is_none_is_an_error(ground: Path, how: str) -> None:
    if how != "vectors":
        path = str(ODD[how](ground))
        found = looked(image(ground / "good.tif"), vectors(ground / "l.gpkg"), path)
        assert [(type(one), one.scene, one.file) for one in found] == [(AOIError, "s", path)]


def test_a_file_whose_crs_has_no_place_for_its_pixels_is_an_error_beside_another_grid(ground: Path) -> None:
    far = write_raster(ground / "far.tif", PIXELS, crs="EPSG:4326")  # latitudes of millions of degrees
    about: dict[str, Any] = {"unit": "DN", "scale": 1.0, "offset": 0.0, "resampling": "nearest"}
    sources = (
        Source(path=str(ground / "good.tif"), bands=("g",), **about),
        Source(path=str(far), bands=("a",), **about),
    )
    (error,) = looked(Image(grid="g", sources=sources), vectors(ground / "l.gpkg"))
    assert (error.scene, error.file) == ("s", str(far))


@pytest.mark.parametrize(
    "error",
    [GEOSException("x"), CRSError("x"), OSError("x"), CPLE_AppDefinedError(3, 1, "x"), TransformNotInvertibleError()],
)
def test_what_a_library_raises_becomes_an_error_that_names_the_file(error: Exception) -> None:
    with pytest.raises(LabelError, match=r"\n  file: f\n  got: \w+: "), library_errors_as(LabelError, "f"):
        raise error


@pytest.mark.parametrize("error", [IndexError("x"), KeyError("x"), TypeError("x"), ImageError("x")])
def test_mistakes_of_this_code_and_its_own_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, library_errors_as(LabelError, "f"):
        raise error
    assert raised.value is error


def test_what_a_container_holds_is_told_and_can_be_named(tmp_path: Path) -> None:
    path = container(tmp_path / "a.nc")
    with pytest.raises(ImageError, match="several rasters") as error:
        opened(path)
    names = str(error.value.got).split(", ")
    assert len(names) == 2
    for name, value in zip(names, (7, 8), strict=True):
        with opened(name) as raster:
            assert (raster.read(raster.grid.area).values == value).all()


def test_a_container_that_a_bundle_is_applied_to_is_told(tmp_path: Path) -> None:
    band = Band(name="a", dtype="uint8", unit="DN", scale=1.0, offset=0.0, nodata=None)
    learnt = BandStatistics(band="a", count=1, mean=1, std=1, min=1, max=1, percentiles={}, histogram=(1,))
    for path in (str(container(tmp_path / "a.nc")), str(container(tmp_path / "b_a.nc")).replace("b_a", "b_{band}")):
        with pytest.raises(ImageError, match=r"several rasters(.|\n)*netcdf:.*:x"):
            offered(path, Inputs((band,), (learnt,)), Reading())


def test_further_images_of_a_file_are_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    about: dict[str, Any] = {"driver": "GTiff", "height": 40, "width": 40, "count": 1, "dtype": "uint8", "crs": UTM}
    for more in ({}, {"APPEND_SUBDATASET": "YES"}):
        with rasterio.open(path, "w", transform=NORTH_UP, **about, **more) as file:
            file.write(PIXELS + len(more))
    with opened(path) as raster:
        (remark,) = raster.remarks
        assert (raster.read(raster.grid.area).values == 7).all()
    assert re.search(rf"pages\.tif holds 2 images, .* first .*GTIFF_DIR:2:{re.escape(str(path))}", remark)
    with opened(f"GTIFF_DIR:2:{path}") as raster:
        assert raster.remarks == []
        assert (raster.read(raster.grid.area).values == 8).all()


def test_a_file_with_overviews_and_a_mask_holds_one_image(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", PIXELS, NORTH_UP @ Affine.scale(2))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(np.ones((40, 40), np.bool_))
        file.build_overviews([2])
    with opened(path) as raster:
        assert raster.remarks == []
