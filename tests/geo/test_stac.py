"""STAC items lead to the same pixels as a catalog that names the files."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from pydantic import ValidationError

from quadrat.errors import ImageError
from quadrat.preflight.problems import unwatched
from quadrat.scenes.image import Image, Source
from quadrat.scenes.scene import Scene
from tests.ground import NORTH_UP, write_raster
from tests.http_server import served

PIXELS = np.random.default_rng(0).integers(1, 9000, (4, 8, 12)).astype(np.uint16)
REFLECTANCE = {"unit": "reflectance", "scale": 0.0001, "offset": -0.1, "nodata": 0}


def item(name: str, assets: dict[str, Any], version: str = "1.0.0") -> dict[str, Any]:
    return {
        "type": "Feature", "stac_version": version, "id": name, "bbox": [12, 52, 13, 53],
        "geometry": {"type": "Point", "coordinates": [12, 52]}, "links": [],
        "properties": {"datetime": "2017-02-16T10:21:01Z", "proj:epsg": 4326, "proj:shape": [1, 1]}, "assets": assets,
    }  # fmt: skip


def apart() -> dict[str, Any]:
    """Return assets of one band each, and a picture whose bands have the same names."""
    visual = [{"name": name} for name in ("red", "green", "blue")]
    return {
        "visual": {"href": "./visual.tif", "roles": ["visual"], "eo:bands": visual},
        "red": {"href": "./red.tif", "eo:bands": [{"name": "B04"}], "raster:bands": [REFLECTANCE], "roles": ["data"]},
        "nir": {"href": "nir.tif", "raster:bands": [REFLECTANCE], "roles": ["data"]},
    }


def together(version: str = "1.0.0") -> dict[str, Any]:
    names = ["blue", "green", "red", "nir"]
    if version == "1.0.0":
        bands = {"eo:bands": [{"name": n} for n in names], "raster:bands": [REFLECTANCE] * 4}
        return {"image": {"href": "image.tif", **bands}}
    meaning = {"unit": "reflectance", "raster:scale": 0.0001, "raster:offset": -0.1, "nodata": 0}
    return {"image": {"href": "image.tif", **meaning, "bands": [{"name": n} for n in names]}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_raster(tmp_path / "red.tif", PIXELS[2:3])
    write_raster(tmp_path / "nir.tif", PIXELS[3:4])
    write_raster(tmp_path / "visual.tif", PIXELS[:3].astype(np.uint8))
    write_raster(tmp_path / "image.tif", PIXELS)
    return tmp_path


def written(path: Path, content: dict[str, Any]) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def of(stac: str, *bands: str, **options: Any) -> Image:
    return Image(grid=bands[0], sources=(Source(stac=stac, bands=bands, resampling="nearest", **options),))


@pytest.mark.parametrize(
    ("assets", "bands"),
    [
        (apart(), ("nir", "red")),
        (apart(), ("nir", "B04")),
        (together(), ("nir", "red")),
        (together("1.1.0"), ("nir", "red")),
    ],
)
def test_bands_by_asset_and_by_name(folder: Path, assets: dict[str, Any], bands: tuple[str, ...]) -> None:
    with of(written(folder / "item.json", item("one", assets)), *bands).open(bands) as raster:
        np.testing.assert_array_equal(raster.read(raster.grid.area).values, PIXELS[[3, 2]])
        for band in raster.bands:
            assert (band.unit, band.scale, band.offset, band.nodata) == ("reflectance", 0.0001, -0.1, 0)
        assert raster.grid.transform == NORTH_UP  # the file's, whatever the item says


def test_an_item_on_the_web(folder: Path) -> None:
    written(folder / "item.json", item("one", apart()))
    with served(folder) as web, of(f"{web.url}/item.json", "red").open(["red"]) as raster:
        np.testing.assert_array_equal(raster.read(raster.grid.area).values, PIXELS[2:3])
        assert {path for path, _ in web.asked} == {"/item.json", "/red.tif"}


def test_a_collection_is_a_mosaic_whose_first_item_wins(tmp_path: Path) -> None:
    items = []
    for n in (1, 2):
        write_raster(tmp_path / f"{n}.tif", np.full((1, 4, 4), n, np.uint16), NORTH_UP @ Affine.translation(2 * n, 0))
        items.append(item(str(n), {"red": {"href": f"{n}.tif", "raster:bands": [REFLECTANCE]}}))
    for order, expected in ((items, [1, 1, 1, 1, 2, 2]), (items[::-1], [1, 1, 2, 2, 2, 2])):
        path = written(tmp_path / "items.json", {"type": "FeatureCollection", "features": order})
        with of(path, "red").open(["red"]) as raster:
            np.testing.assert_array_equal(raster.read(raster.grid.area).values[0, 0], expected)
    other = copy.deepcopy(items)
    other[1]["assets"]["red"]["raster:bands"] = [{**REFLECTANCE, "offset": 0}]
    path = written(tmp_path / "items.json", {"type": "FeatureCollection", "features": other})
    with pytest.raises(ImageError, match=r"has different meanings in the items(.|\n)*item 1(.|\n)*item 2"):
        of(path, "red").open(["red"])


def test_the_catalog_says_what_the_items_do_not(folder: Path) -> None:
    assets = apart()
    assets["red"]["raster:bands"] = [{"nodata": 5}]
    path = written(folder / "item.json", item("one", assets))
    with pytest.raises(ImageError, match=r"neither the catalog nor(.|\n)*one(.|\n)*unit None, scale None"):
        of(path, "red").open(["red"])
    with of(path, "red", unit="DN", scale=2.0, offset=1.0, nodata=5.0).open(["red"]) as raster:
        band = raster.bands[0]
    assert (band.unit, band.scale, band.offset, band.nodata) == ("DN", 2, 1, 5)
    assets["red"]["raster:bands"] = [{"unit": "m"}]  # as they are
    with of(written(folder / "item.json", item("one", assets)), "red").open(["red"]) as raster:
        assert (raster.bands[0].unit, raster.bands[0].scale, raster.bands[0].offset) == ("m", 1, 0)


def test_contradictions_between_catalog_and_item(folder: Path) -> None:
    path = written(folder / "item.json", item("one", apart()))
    with pytest.raises(ImageError, match=r"different offset(.|\n)*item one(.|\n)*0\.0 (.|\n)*-0\.1 "):
        of(path, "red", offset=0.0).open(["red"])
    with of(path, "red", offset=0.0, ignore_tags=True).open(["red"]) as raster:
        assert raster.bands[0].offset == 0
    with pytest.raises(ImageError, match=r"different nodata(.|\n)*item one(.|\n)*9\.0 (.|\n)*0\.0 "):
        of(path, "red", nodata=9.0).open(["red"])
    with of(path, "red", nodata=9.0, ignore_tags=True).open(["red"]) as raster:
        assert raster.bands[0].nodata == 9


def described(folder: Path, asset: dict[str, Any], **properties: Any) -> tuple[Any, ...]:
    """Return unit, scale, offset and nodata of the band red, of an image of float32."""
    write_raster(folder / "float.tif", PIXELS[:3].astype(np.float32))
    content = item("one", {"image": {"href": "float.tif", **asset}}, "1.1.0")
    content["properties"].update(properties)
    (channel,) = of(written(folder / "item.json", content), "red").channels(["red"])
    assert channel.pieces[0][1] == 3
    return channel.unit, channel.scale, channel.offset, channel.nodata


NAMES = [{"name": name} for name in ("blue", "green", "red")]
EACH = [{**name, "unit": "m", "nodata": n} for n, name in enumerate(NAMES)]


@pytest.mark.parametrize(
    ("asset", "properties", "expected"),
    [
        ({"bands": NAMES}, {"unit": "K", "nodata": 7, "raster:scale": 2}, ("K", 2, 0, 7)),
        ({"bands": NAMES, "nodata": 8}, {"unit": "K", "nodata": 7}, ("K", 1, 0, 8)),
        ({"bands": EACH, "nodata": 8}, {"nodata": 7}, ("m", 1, 0, 2)),
        ({"bands": NAMES}, {"unit": "K", "nodata": 7, "bands": EACH}, ("m", 1, 0, 2)),
        ({"bands": NAMES, "nodata": 8}, {"bands": EACH}, ("m", 1, 0, 8)),
        ({"eo:bands": NAMES, "raster:bands": EACH}, {"nodata": 7}, ("m", 1, 0, 2)),
        ({"bands": NAMES, "raster:bands": EACH}, {}, ("m", 1, 0, 2)),
        ({"bands": None, "eo:bands": NAMES}, {"unit": "K", "nodata": 7}, ("K", 1, 0, 7)),
        ({"bands": [{**n, "nodata": None, "unit": None} for n in NAMES]}, {"unit": "K", "nodata": 7}, ("K", 1, 0, 7)),
        ({"bands": NAMES, "raster:scale": 3}, {"unit": "K", "raster:scale": 2, "scale": 9}, ("K", 3, 0, None)),
        ({"bands": NAMES, "unit": "K"}, {"nodata": "nan"}, ("K", 1, 0, float("nan"))),
        ({"bands": NAMES, "unit": "K"}, {"nodata": "-inf"}, ("K", 1, 0, -float("inf"))),
        ({"bands": NAMES, "unit": "K"}, {"nodata": 2**63 - 1}, ("K", 1, 0, 2**63 - 1)),
    ],
)
def test_the_band_counts_before_the_asset_and_that_before_the_item(
    folder: Path, asset: dict[str, Any], properties: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    assert str(described(folder, asset, **properties)) == str(tuple(map(_number, expected)))


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, int) and value < 2**53 else value


def test_nodata_of_the_item_hides_pixels(folder: Path) -> None:
    content = item("one", {"image": {"href": "image.tif", "bands": [{"name": n} for n in "abcd"]}}, "1.1.0")
    content["properties"].update(nodata=int(PIXELS[0, 0, 0]), unit="DN")
    with of(written(folder / "item.json", content), "a").open(["a"]) as raster:
        np.testing.assert_array_equal(raster.read(raster.grid.area).valid, PIXELS[0] != PIXELS[0, 0, 0])


def test_a_null_in_an_item_is_as_if_the_key_were_missing(folder: Path) -> None:
    assets: dict[str, Any] = apart()
    assets["red"] = {**assets["red"], "roles": None, "bands": None, "title": None}
    assets["thumbnail"] = {"href": "t.png", "roles": None, "eo:bands": None, "raster:bands": None, "bands": None}
    assets["nothing"] = None
    content = {**item("one", assets), "properties": None}
    for name in ("red", "B04"):
        with of(written(folder / "item.json", content), name).open([name]) as raster:
            assert raster.bands[0].nodata == 0
    twice = {**assets, "copy": {**assets["red"], "roles": ["data"]}}
    (channel,) = of(written(folder / "item.json", item("one", twice)), "B04").channels(["B04"])
    assert channel.nodata == 0
    meaning = {"scale": None, "offset": None, "unit": "DN", "nodata": None}
    plain = {"image": {"href": "image.tif", "raster:bands": [meaning] * 4, "eo:bands": [{"name": n} for n in "abcd"]}}
    with of(written(folder / "item.json", item("one", plain)), "a").open(["a"]) as raster:
        assert (raster.bands[0].scale, raster.bands[0].offset, raster.bands[0].nodata) == (1, 0, None)


RED = {"href": "red.tif", "unit": "DN"}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"assets": [1]}, ("field assets ", "an object", r"\[1\]")),
        ({"assets": {"red": "red.tif"}}, (r"field assets\.red ", "an object", '"red.tif"')),
        ({"properties": 3}, ("field properties ", "an object", "3")),
        ({"assets": {"red": {**RED, "bands": {"name": "red"}}}}, (r"assets\.red\.bands ", "a list", '{"name": "red"}')),
        ({"assets": {"a": {"eo:bands": [0, 1]}}}, (r"assets\.a\.eo:bands\[0\] ", "an object", "0")),
        ({"assets": {"red": {**RED, "raster:bands": "none"}}}, (r"red\.raster:bands ", "a list", '"none"')),
        ({"assets": {"red": {"href": None}}}, (r"assets\.red\.href ", "a path or an address", "nothing")),
        ({"assets": {"red": {"href": 7}}}, (r"assets\.red\.href ", "a text", "7")),
        ({"assets": {"red": {**RED, "unit": 1}}}, ("of band red: unit ", "a text", "1")),
        ({"assets": {"red": {**RED, "nodata": "none"}}}, ("of band red: nodata ", 'a number, "nan"', '"none"')),
        ({"assets": {"red": {**RED, "nodata": [0]}}}, ("of band red: nodata ", "a number", r"\[0\]")),
        ({"assets": {"red": {**RED, "nodata": True}}}, ("of band red: nodata ", "a number", "true")),
        ({"assets": {"red": {**RED, "raster:scale": "nan"}}}, ("of band red: scale ", "a number", '"nan"')),
        ({"assets": {"red": {**RED, "raster:offset": 10**399}}}, ("of band red: offset ", "a number", "1000")),
        (
            {"assets": {k: {**RED, "roles": "data", "bands": [{"name": "red"}]} for k in "ab"}},
            (r"field assets\.a\.roles ", "a list", '"data"'),
        ),
        (
            {"assets": {k: {**RED, "roles": [1], "bands": [{"name": "red"}]} for k in "ab"}},
            (r"field assets\.a\.roles ", "a list of texts", r"\[1\]"),
        ),
    ],
)
def test_a_field_of_a_wrong_type_is_named(folder: Path, changed: dict[str, Any], told: tuple[str, str, str]) -> None:
    field, expected, got = told
    path = written(folder / "item.json", {**item("one", {"red": RED}), **changed})
    with pytest.raises(ImageError, match=rf"{field}.*\n.*json, item one\n.*expected: {expected}.*\n.*got: {got}"):
        of(path, "red").open(["red"])


def test_a_time_that_is_no_text(folder: Path) -> None:
    content = item("one", {"red": RED})
    content["properties"]["datetime"] = 2017
    series = of(written(folder / "item.json", content), "red").model_copy(update={"dates": ("2017",)})
    with pytest.raises(ImageError, match=r"field properties\.datetime(.|\n)*expected: a text(.|\n)*got: 2017"):
        series.open(["red"])


@pytest.mark.parametrize(
    ("content", "band", "problem"),
    [
        (item("one", apart()), "swir", r"no band of that name(.|\n)*visual \(red, green, blue\), red \(B04\)"),
        (item("one", apart()), "visual", "has several bands"),
        (item("one", {k: {**together()["image"]} for k in "ab"}), "red", "several assets have a band red: a, b"),
        (item("one", {}), "red", "no assets"),
        ({"type": "Collection", "id": "x"}, "red", "neither a STAC Item nor(.|\n)*type Collection"),
        ({"type": "FeatureCollection", "features": []}, "red", "with items"),
        ({"type": "FeatureCollection", "features": None}, "red", "with items"),
        ({"type": "FeatureCollection", "features": [None]}, "red", "with items"),
        ({"type": "FeatureCollection", "features": {"type": "Feature"}}, "red", "with items"),
    ],
)
def test_a_band_that_the_item_lacks_is_an_error(folder: Path, content: dict[str, Any], band: str, problem: str) -> None:
    with pytest.raises(ImageError, match=rf"{problem}"):
        of(written(folder / "item.json", content), band).open([band])


def test_files_that_are_no_items(folder: Path) -> None:
    (folder / "broken.json").write_text("{")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "latin.json").write_bytes(b'{"a": "\xe4"}')
    for name in ("broken.json", "none.json", "deep.json", "latin.json"):
        with pytest.raises(ImageError, match=rf"can't be read(.|\n)*{name}"):
            of(str(folder / name), "red").open(["red"])
    with served(folder) as web, pytest.raises(ImageError, match=r"can't be read(.|\n)*none\.json"):
        of(f"{web.url}/none.json", "red").open(["red"])


def test_an_infrared_band_that_gdal_calls_alpha(tmp_path: Path) -> None:
    """As in NAIP's items."""
    pixels = np.zeros((4, 5, 5), np.uint8)
    write_raster(tmp_path / "image.tif", pixels, photometric="RGB", alpha="YES")
    path = written(tmp_path / "item.json", item("one", together()))
    with of(path, "red", nodata=9.0, ignore_tags=True).open(["red"]) as raster:
        assert raster.read(raster.grid.area).valid.all()


def test_files_of_items_are_known(folder: Path) -> None:
    path = written(folder / "item.json", item("one", apart()))
    scene = Scene("s", "predict", of(path, "red", "nir"), (), ())
    assert list(scene.files()) == [path, str(folder / "red.tif"), str(folder / "nir.tif")]
    assert len(unwatched(scene.files(), [Path("data/raw")])) == 3


def test_a_source_is_files_or_items() -> None:
    about = {"bands": ("a",), "resampling": "nearest"}
    for wrong in ({}, {"path": "a.tif", "stac": "b.json"}, {"stac": "b.json", "bands": {"a": 1}}):
        with pytest.raises(ValidationError, match=r"either 'path' or 'stac'|list their names"):
            Source(**{**about, **wrong})
