"""A bundle in Python gives the layers that `quadrat apply` writes, of files and of arrays, and checks as much."""

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray

import quadrat
from quadrat.errors import BundleError, ImageError, ModelError, ParamsError
from tests.ground import BANDS, write_raster
from tests.project import digests

SCORES = {"scores": True, "polygons": "polygons.gpkg"}


@pytest.fixture(scope="module")
def predictor(built: Path) -> quadrat.Predictor:
    return quadrat.load(built / "models/bundle.zip", runtime="onnx", layers=SCORES)


@pytest.fixture
def raw() -> np.ndarray:
    with rasterio.open("data/image.tif") as file:
        return file.read()


@pytest.fixture
def view() -> xarray.DataArray:
    with quadrat.open_scene("tile") as scene:
        return scene.to_xarray().load()


@pytest.fixture
def expected() -> np.ndarray:
    """Return what the stage predict wrote."""
    with rasterio.open("data/predictions/tile/labels.tif") as file:
        return file.read(1)


def labels(predictor: quadrat.Predictor, image: Any, **about: Any) -> np.ndarray:
    return predictor.predict(image, **about)["labels"].values


def tagged(path: Path, pixels: np.ndarray, **tags: Any) -> Path:
    """Write pixels as a file that names its bands."""
    write_raster(path, pixels, nodata=0)
    with rasterio.open(path, "r+") as file:
        file.descriptions = BANDS
        for name, value in tags.items():
            setattr(file, name, value)
    return path


def test_layers_of_a_path_are_the_files_of_apply(predictor: quadrat.Predictor, raw: Any, tmp_path: Path) -> None:
    from quadrat.serving.apply import apply
    from quadrat.serving.new_images import Reading
    from quadrat.serving.ready import Plan

    image = tagged(tmp_path / "new.tif", raw)
    written = predictor.predict(image, tmp_path / "python")
    apply(Path("models/bundle.zip"), [str(image)], tmp_path / "apply", Reading(), Plan("onnx", layers=SCORES))
    assert [*written] == ["labels", "scores", "confidence", "polygons"]
    assert {path.parent for path in written.values()} == {tmp_path / "python/new"}
    assert digests(tmp_path / "python") == digests(tmp_path / "apply")


def test_an_array_gives_what_predict_gives(predictor: quadrat.Predictor, raw: Any, expected: Any) -> None:
    layers = predictor.predict(raw)
    np.testing.assert_array_equal(layers["labels"], expected)
    assert layers["labels"].dims == ("y", "x")
    assert layers["labels"].attrs == {"_FillValue": 255, "classes": ("wood", "lake", "field")}
    scores = layers["scores"]
    assert scores["band"].values.tolist() == ["wood", "lake", "field"]
    assert (scores.dtype, scores.shape) == (np.float32, (3, *expected.shape))
    np.testing.assert_array_equal(scores.argmax("band"), expected)
    assert isinstance(layers["polygons"], geopandas.GeoDataFrame)
    assert layers["polygons"].crs is None
    assert layers["polygons"].total_bounds.tolist() == [0, 0, 200, 120]


def test_polygons_in_memory_lie_where_the_image_does_also_of_a_bundle_that_writes_geojson(
    built: Path, raw: Any, view: Any, tmp_path: Path
) -> None:
    layers = {"polygons": "polygons.geojson"}
    predictor = quadrat.load(built / "models/bundle.zip", runtime="onnx", layers=layers)
    plain, placed = (predictor.predict(image)["polygons"] for image in (raw, view))
    assert isinstance(plain, geopandas.GeoDataFrame)
    assert (plain.crs, plain.total_bounds.tolist()) == (None, [0, 0, 200, 120])
    assert placed.crs == view.rio.crs
    np.testing.assert_allclose(placed.total_bounds, view.rio.bounds())
    assert predictor.predict(view, tmp_path)["polygons"].name == "polygons.geojson"


@pytest.mark.filterwarnings("error")  # the project ignores rasterio's warning of what has no place
def test_an_array_without_a_place_is_nothing_to_warn_of(predictor: quadrat.Predictor, raw: Any) -> None:
    layer = predictor.predict(raw)["labels"]
    assert not layer.coords
    quadrat.evaluate(layer, layer.values, predictor.task)


def test_layers_of_a_dataarray_lie_where_it_lies(predictor: quadrat.Predictor, view: Any, expected: Any) -> None:
    layers = predictor.predict(view)
    np.testing.assert_array_equal(layers["labels"], expected)
    for layer in (layers["labels"], layers["scores"]):
        assert layer.rio.crs == view.rio.crs
        np.testing.assert_array_equal(layer["x"], view["x"])
        np.testing.assert_array_equal(layer["y"], view["y"])
    assert layers["polygons"].crs == view.rio.crs
    np.testing.assert_allclose(layers["polygons"].total_bounds, view.rio.bounds())


def test_a_part_of_a_dataarray_lies_where_the_part_lies(predictor: quadrat.Predictor, view: Any) -> None:
    part = view.isel(y=slice(40, 104), x=slice(30, 110))
    layer = predictor.predict(part)["labels"]
    assert layer.rio.transform() == part.rio.transform(recalc=True)
    np.testing.assert_array_equal(layer["x"], part["x"])
    with pytest.warns(UserWarning, match="pixels of 20 m"):
        coarse = predictor.predict(view.isel(y=slice(None, None, 2), x=slice(None, None, 2)))["labels"]
    assert coarse.rio.transform().a == 20


def test_bands_go_by_their_names(predictor: quadrat.Predictor, raw: Any, view: Any, expected: Any) -> None:
    more = np.stack([raw[2], raw[0] * 0, raw[1], raw[0]])
    np.testing.assert_array_equal(labels(predictor, more, bands=["B3", "QA", "B2", "B1"]), expected)
    np.testing.assert_array_equal(labels(predictor, view.isel(band=[2, 0, 1])), expected)
    np.testing.assert_array_equal(labels(predictor, view.transpose("x", "band", "y")), expected)


def test_bands_of_rioxarray_go_by_the_names_of_their_file(
    predictor: quadrat.Predictor, raw: Any, expected: Any, tmp_path: Path
) -> None:
    image = rioxarray.open_rasterio(tagged(tmp_path / "a.tif", raw))
    np.testing.assert_array_equal(labels(predictor, image), expected)
    np.testing.assert_array_equal(labels(predictor, image.isel(band=[1, 2, 0])), expected)
    with pytest.raises(ImageError, match="doesn't say which band is which"):
        predictor.predict(image.isel(band=[1, 2, 0]).drop_vars("band"))


@pytest.mark.parametrize(
    ("change", "about", "message"),
    [
        (lambda v: v[:2], {}, "doesn't say which band is which"),
        (lambda v: v, {"bands": ["B1", "B2"]}, "must name each band"),
        (lambda v: v, {"bands": ["B1", "B2", "B4"]}, "no band B3"),
        (lambda v: v, {"bands": ["B1", "B2", "B2"]}, "several bands B2"),
        (lambda v: v[0], {}, "another shape"),
        (lambda v: v > 3, {}, "of a data type that no image has"),
        (lambda v: v.astype(np.complex64), {}, "of a data type that no image has"),
        (lambda v: v * np.float32(0.0001), {}, "in another unit"),
        (lambda v: xarray.DataArray(v, dims=("band", "y", "x")), {}, "doesn't say which band is which"),
        (lambda v: xarray.DataArray(v, dims=("time", "y", "x")), {}, "other axes"),
    ],
)
def test_an_array_that_cant_be_judged_is_refused(
    predictor: quadrat.Predictor, raw: Any, change: Any, about: Any, message: str
) -> None:
    with pytest.raises(ImageError, match=message) as raised:
        predictor.predict(change(raw), **about)
    assert "/" not in str(raised.value.file or "")  # no path of ours


def test_values_are_brought_to_the_unit_of_the_model(
    predictor: quadrat.Predictor, raw: Any, view: Any, expected: Any, tmp_path: Path
) -> None:
    reflectance = raw * np.float32(0.0001)
    for one in (1.0, 1, np.float32(1)):
        np.testing.assert_array_equal(labels(predictor, reflectance, scale=one), expected)
    one = {name: ("band", np.full(3, value)) for name, value in (("scale", 1.0), ("offset", 0.0))}
    np.testing.assert_array_equal(labels(predictor, view.copy(data=reflectance).assign_coords(one)), expected)
    shifted = tagged(tmp_path / "a.tif", raw + 1000, scales=[0.0001] * 3, offsets=[-0.1] * 3)
    for options in ({}, {"masked": True}, {"mask_and_scale": True}):
        image = rioxarray.open_rasterio(shifted, **options)
        np.testing.assert_array_equal(labels(predictor, image), expected)
    plain = rioxarray.open_rasterio(tagged(tmp_path / "b.tif", raw), mask_and_scale=True)
    np.testing.assert_array_equal(labels(predictor, plain), expected)


@pytest.mark.filterwarnings("ignore:(Scales|Offsets) differ across bands:UserWarning")
def test_scale_and_offset_of_each_band_that_rioxarray_applied_are_not_applied_again(
    predictor: quadrat.Predictor, raw: Any, expected: Any, tmp_path: Path
) -> None:
    doubled = np.stack([raw[0], raw[1], raw[2] * 2])
    shifted = np.stack([raw[0], raw[1], raw[2] + 1000]) * np.float32(0.0001)
    for name, pixels, tags in (
        ("a.tif", doubled, {"scales": [0.0001, 0.0001, 0.00005]}),
        ("b.tif", shifted.astype(np.float32), {"offsets": [0.0, 0.0, -0.1]}),
    ):
        path = tagged(tmp_path / name, pixels, **tags)
        image = rioxarray.open_rasterio(path, mask_and_scale=True)
        assert np.nanmax(image.values) < 10  # in reflectance
        np.testing.assert_array_equal(labels(predictor, image), expected, err_msg=name)


def test_an_array_may_have_its_bytes_in_another_order(predictor: quadrat.Predictor, raw: Any, expected: Any) -> None:
    for kind in (">u2", ">i4", ">f4", ">f8"):
        np.testing.assert_array_equal(labels(predictor, raw.astype(kind)), expected, err_msg=kind)


def test_masked_values_are_refused_and_an_empty_mask_is_none(
    predictor: quadrat.Predictor, raw: Any, expected: Any
) -> None:
    image = np.ma.masked_array(raw, np.zeros(raw.shape, bool))
    np.testing.assert_array_equal(labels(predictor, image), expected)
    image[:, :10] = np.ma.masked
    with pytest.raises(ImageError, match="has masked values"):
        predictor.predict(image)
    assert (labels(predictor, image.filled(0))[:10] == 255).all()


def test_an_array_with_a_place_is_brought_to_the_pixels_of_the_model(
    predictor: quadrat.Predictor, raw: Any, view: Any, expected: Any
) -> None:
    fine = view.rio.reproject(view.rio.crs, resolution=5.0)  # each pixel four times
    found = predictor.predict(fine, resolution="model")["labels"]
    assert found.shape == expected.shape
    assert (found.values == expected).mean() > 0.8  # at edges of fields, values are mixed
    with pytest.raises(ImageError, match="size of its pixels isn't known"):
        predictor.predict(raw, resolution="model")


def test_another_unit_is_refused(predictor: quadrat.Predictor, view: Any) -> None:
    with pytest.raises(ModelError, match="another unit") as raised:
        predictor.predict(view.assign_coords(unit=("band", ["DN"] * 3)))
    assert (raised.value.expected, raised.value.got, raised.value.file) == ("reflectance", "DN", "the array")


def test_nothing_is_predicted_where_there_is_no_value(predictor: quadrat.Predictor, raw: Any, view: Any) -> None:
    holes = raw.copy()
    holes[1, :10], holes[:, 50:60] = 0, 7777
    assert (labels(predictor, holes)[:10] == 255).all()  # the model's nodata
    found = predictor.predict(holes, nodata=7777)
    assert (found["labels"].values[50:60] == 255).all()
    assert (found["labels"].values[60:] != 255).all()
    assert np.isnan(found["scores"].values[:, 50:60]).all()
    assert (labels(predictor, view.copy(data=holes))[:10] == 255).all()
    floats = np.where(holes == 7777, np.nan, holes).astype(np.float32)
    assert (labels(predictor, floats)[50:60] == 255).all()


def test_a_grid_that_isnt_one_is_refused(predictor: quadrat.Predictor, view: Any) -> None:
    with pytest.raises(ImageError, match="x is not evenly spaced"):
        predictor.predict(view.isel(x=[0, 1, 2, 5, 6]))
    with pytest.raises(ImageError, match="a CRS, and no coordinates"):
        predictor.predict(view.drop_vars(["x", "y"]))


def test_what_is_misspelt_is_refused(predictor: quadrat.Predictor, raw: Any) -> None:
    with pytest.raises(TypeError, match="unchekced"):
        predictor.predict(raw, unchekced=True)
    for wrong in ({"scale": 0}, {"scale": float("nan")}, {"offset": "1"}, {"nodata": "0"}, {"resolution": -3}):
        with pytest.raises(ParamsError, match=f"{next(iter(wrong))} of an image"):
            predictor.predict(raw, **wrong)
    with pytest.raises(ParamsError, match="did you mean 'scores'"):
        quadrat.load("models/bundle.zip", layers={"scroes": True})
    with pytest.raises(BundleError):
        quadrat.load("models/none.zip")


def test_files_that_would_be_lost_are_kept(predictor: quadrat.Predictor, raw: Any, tmp_path: Path) -> None:
    (tmp_path / "array").mkdir()
    (tmp_path / "array/mine.txt").touch()
    with pytest.raises(ImageError, match="other files, which would be lost"):
        predictor.predict(raw, tmp_path)


def test_a_catalog_of_several_scenes_is_no_image(predictor: quadrat.Predictor) -> None:
    with pytest.raises(ImageError, match="several scenes"):
        predictor.predict("data/scenes.yaml")


def test_a_predictor_says_what_it_takes(predictor: quadrat.Predictor) -> None:
    assert [band.name for band in predictor.bands] == [*BANDS]
    assert predictor.task.names == ("wood", "lake", "field")
    assert predictor.gsd == pytest.approx(10, rel=1e-3)
    assert "semantic_segmentation, bands B1, B2, B3" in repr(predictor)
