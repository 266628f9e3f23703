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
from quadrat.preflight import unwatched
from quadrat.scenes.image import Image, Source
from quadrat.scenes.scene import Scene
from tests.ground import NORTH_UP, write_raster
from tests.serving import served

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
    with pytest.raises(ImageError, match=r"different things in different items(.|\n)*item 1(.|\n)*item 2"):
        of(path, "red").open(["red"])


def test_the_catalog_says_what_the_items_do_not(folder: Path) -> None:
    assets = apart()
    assets["red"]["raster:bands"] = [{"nodata": "nan"}]
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
    with pytest.raises(ImageError, match=r"another offset than the catalog(.|\n)*item one(.|\n)*0\.0 (.|\n)*-0\.1 "):
        of(path, "red", offset=0.0).open(["red"])
    with of(path, "red", offset=0.0, ignore_tags=True).open(["red"]) as raster:
        assert raster.bands[0].offset == 0
    assets = apart()
    assets["red"]["raster:bands"] = [{"nodata": 3, "unit": "DN"}]
    path = written(folder / "item.json", item("one", assets))
    with pytest.raises(ImageError, match=r"another nodata than the catalog(.|\n)*item one(.|\n)*5\.0 (.|\n)*3\.0 "):
        of(path, "red", nodata=5.0).open(["red"])
    with of(path, "red", nodata=5.0, ignore_tags=True).open(["red"]) as raster:
        assert raster.bands[0].nodata == 5


@pytest.mark.parametrize(
    ("content", "band", "problem"),
    [
        (item("one", apart()), "swir", r"no band of that name(.|\n)*visual \(red, green, blue\), red \(B04\)"),
        (item("one", apart()), "visual", "has several bands"),
        (item("one", {k: {**together()["image"]} for k in "ab"}), "red", "several assets have a band red: a, b"),
        (item("one", {}), "red", "no assets"),
        ({"type": "Collection", "id": "x"}, "red", "neither a STAC Item nor(.|\n)*type Collection"),
        ({"type": "FeatureCollection", "features": []}, "red", "with items"),
    ],
)
def test_what_is_not_there(folder: Path, content: dict[str, Any], band: str, problem: str) -> None:
    with pytest.raises(ImageError, match=rf"{problem}"):
        of(written(folder / "item.json", content), band).open([band])


def test_files_that_are_no_items(folder: Path) -> None:
    (folder / "broken.json").write_text("{")
    for name in ("broken.json", "none.json"):
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
    with pytest.raises(ValidationError, match="scale, offset missing"):
        Source(**about, path="a.tif", unit="DN")
