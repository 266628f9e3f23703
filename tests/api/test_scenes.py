"""A scene in Python is what the catalog and the files say, image and labels."""

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.features

import quadrat
from quadrat.api.scenes import Scene
from quadrat.errors import CatalogError, ImageError, LabelError, ParamsError
from quadrat.labels.vector import VectorLabels
from quadrat.scenes import scene as parts
from tests.ground import BANDS, KINDS, detection, image, pixel_box, write_areas, write_raster


def test_a_scene_of_the_catalog_has_the_bands_of_the_parameters() -> None:
    with quadrat.open_scene("east") as scene, rasterio.open("data/image.tif") as file:
        array = scene.to_xarray()
        np.testing.assert_array_equal(array, file.read())
        assert (scene.id, scene.split, scene.grid.shape) == ("east", "test", file.shape)
        assert array.rio.crs == file.crs
        assert array.rio.transform() == file.transform
        about = {name: array[name].values.tolist() for name in ("band", "unit", "scale", "nodata")}
    assert about == {"band": [*BANDS], "unit": ["reflectance"] * 3, "scale": [0.0001] * 3, "nodata": [0] * 3}
    assert repr(scene) == "Scene('east', 200 × 120 px, bands B1, B2, B3)"


def test_bands_can_be_chosen() -> None:
    with quadrat.open_scene("east", bands=["B3", "B1"]) as scene:
        assert scene.to_xarray()["band"].values.tolist() == ["B3", "B1"]


@pytest.mark.parametrize("picked", [[0, 0], [2, 0, 2], [1, 1, 1]])
def test_a_band_can_be_asked_for_twice(picked: list[int]) -> None:
    with quadrat.open_scene("east") as scene, rasterio.open("data/image.tif") as file:
        np.testing.assert_array_equal(scene.to_xarray().isel(band=picked), file.read()[picked])


def test_labels_are_class_ids_within_the_area_of_interest() -> None:
    with quadrat.open_scene("east") as scene:
        assert scene.labels is not None
        labels = scene.labels.to_xarray()
        found, transform = labels.values, labels.rio.transform()
    features = geopandas.read_file("data/labels.gpkg")
    aoi = geopandas.read_file("data/e.geojson").to_crs(features.crs)
    shapes = zip(features.geometry, features["kind"].map(KINDS.index), strict=True)
    ids = rasterio.features.rasterize(shapes, found.shape, 255, transform=transform, dtype=np.uint8)
    inside = rasterio.features.geometry_mask(aoi.geometry, found.shape, transform, invert=True)
    np.testing.assert_array_equal(found, np.where(inside, ids, 255))
    assert labels.attrs == {"_FillValue": 255, "classes": KINDS}
    assert (inside & (ids != 255)).sum() > 4000


def test_labels_are_features_in_the_crs_of_the_scene() -> None:
    with quadrat.open_scene("east") as scene:
        assert scene.labels is not None
        features = scene.labels.to_geopandas()
    expected = geopandas.read_file("data/labels.gpkg")
    assert features.crs == expected.crs
    assert features["class"].tolist() == expected["kind"].tolist()
    assert features.geometry.geom_equals_exact(expected.geometry, 1e-6).all()


def test_boxes_are_features_and_no_pixels(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.ones((1, 40, 40), np.uint8))
    labels = write_areas(tmp_path / "l.gpkg", [pixel_box(3, 4, 9, 12)], {"kind": ["tree"]})
    source = VectorLabels(kind="vector", path=str(labels), field="kind")
    with Scene(parts.Scene("a", "test", image(path), (source,), ()), ["a"], detection("tree")) as scene:
        assert scene.labels is not None
        assert scene.labels.to_geopandas()["class"].tolist() == ["tree"]
        with pytest.raises(LabelError, match="labels no pixels"):
            scene.labels.to_xarray()


def test_a_file_is_a_scene_without_labels(tmp_path: Path) -> None:
    values = np.arange(2 * 6 * 5, dtype=np.int16).reshape(2, 6, 5)
    path = write_raster(tmp_path / "a.tif", values, nodata=-1)
    with pytest.raises(ImageError, match="doesn't say which band is which"):
        quadrat.open_scene(path)
    with pytest.raises(ImageError, match="must name each band"):
        quadrat.open_scene(path, bands=["red"])
    with quadrat.open_scene(str(path), bands=["red", "nir"]) as scene:
        assert scene.labels is None
        assert [(band.name, band.unit, band.nodata) for band in scene.bands] == [("red", "DN", -1), ("nir", "DN", -1)]
        np.testing.assert_array_equal(scene.to_xarray(), values)
    with rasterio.open(path, "r+") as file:
        file.descriptions, file.units = ("red", "nir"), ("reflectance",) * 2
    with quadrat.open_scene(path) as scene:
        assert [(band.name, band.unit) for band in scene.bands] == [("red", "reflectance"), ("nir", "reflectance")]


def test_a_file_for_each_band_is_one_scene(tmp_path: Path) -> None:
    for number, name in enumerate(BANDS):
        write_raster(tmp_path / f"s_{name}.tif", np.full((1, 4, 4), number, np.uint8))
    with quadrat.open_scene(tmp_path / "s_{band}.tif", bands=["B3", "B2"]) as scene:
        assert scene.to_xarray()[:, 0, 0].values.tolist() == [2, 1]
    with pytest.raises(ImageError, match="stands for several files"):
        quadrat.open_scene(tmp_path / "s_{band}.tif")


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        ("nowhere", {}, CatalogError, "no file and no scene called nowhere(.|\n)*west, middle, east, tile"),
        ("east", {"params": "none.yaml"}, ParamsError, "missing"),
        ("east", {"bands": ["B9"]}, ImageError, "no such band"),
        ("data/none.tif", {}, ImageError, "can't be opened"),
    ],
)
def test_what_isnt_there_is_named(source: str, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        quadrat.open_scene(source, **options)


def test_pixels_can_be_read_as_long_as_the_scene_is_not_closed() -> None:
    """Also where nothing but the array holds the scene."""
    array, labels = quadrat.open_scene("east").to_xarray(), quadrat.open_scene("east").labels.to_xarray()  # type: ignore[union-attr]
    with quadrat.open_scene("east") as scene:
        late, late_labels = scene.to_xarray(), scene.labels
        assert late_labels is not None
        np.testing.assert_array_equal(array, scene.to_xarray())
        np.testing.assert_array_equal(labels, late_labels.to_xarray())
    for closed in (late, late_labels.to_xarray):
        with pytest.raises(ImageError, match="the scene is closed"):
            np.asarray(closed() if callable(closed) else closed)
