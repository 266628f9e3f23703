"""Labels and areas of STAC Items are those of the files and geometries that they name."""

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
from pydantic import ValidationError
from rasterio.crs import CRS
from shapely.geometry import mapping

from quadrat.errors import AOIError, LabelError
from quadrat.geo.grids.grid import Grid
from quadrat.labels.stac import StacLabels
from quadrat.labels.vector import VectorLabels
from quadrat.scenes.aoi import open_aoi
from quadrat.scenes.catalog import read_catalog
from tests.ground import KINDS, NORTH_UP, UTM, pixel_box, segmentation, write_areas, write_world
from tests.http_server import served

GRID = Grid(CRS.from_string(UTM), NORTH_UP, (40, 50))
TASK = segmentation("wood", "lake")


def item(name: str, assets: dict[str, Any], **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "bbox": [12, 52, 13, 53], "links": [],
        "geometry": {"type": "Point", "coordinates": [12, 52]},
        "properties": {"datetime": "2017-02-16T10:21:01Z", **properties}, "assets": assets,
    }  # fmt: skip


def labelling(name: str = "one", assets: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """Return an item with the label extension."""
    about = {
        "label:type": "vector", "label:properties": ["kind"], "label:description": "by hand",
        "label:classes": [{"name": "kind", "classes": ["wood", "lake"]}], **changed,
    }  # fmt: skip
    kept = {key.replace("_", ":"): value for key, value in about.items()}
    return item(name, assets or {"labels": {"href": "./labels.geojson", "type": "application/geo+json"}}, **kept)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fields = {"kind": ["wood", "lake"], "use": ["lake", "lake"]}
    areas = [pixel_box(0, 0, 20, 20), pixel_box(10, 10, 30, 25)]
    write_areas(tmp_path / "labels.geojson", areas, fields, to_crs="EPSG:4326")
    return tmp_path


def written(path: Path, content: dict[str, Any]) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def ids(path: str, **options: Any) -> np.ndarray:
    source = StacLabels.model_validate({"kind": "stac", "path": path, **options}, strict=False)
    with source.open(GRID, TASK, "s") as labels:
        return labels.class_ids(GRID.area, all_touched=False)


def plain(folder: Path, field: str = "kind") -> np.ndarray:
    source = VectorLabels(kind="vector", path=str(folder / "labels.geojson"), field=field)
    with source.open(GRID, TASK, "s") as labels:
        return labels.class_ids(GRID.area, all_touched=False)


@pytest.mark.parametrize(
    "assets",
    [
        {"labels": {"href": "labels.geojson"}, "image": {"href": "i.tif"}},
        {"truth": {"href": "./labels.geojson", "roles": ["labels", "labels-vector"]}, "labels": {"href": "x.txt"}},
        {"labels": {"href": "labels%2Egeojson", "roles": None}, "image": {"href": "i.tif", "roles": None}, "x": None},
        {"truth": {"href": "labels.geojson", "ml-aoi:role": "label"}, "i": {"href": "i.tif", "ml-aoi:role": "feature"}},
    ],
    ids=["by key", "by role", "with nulls", "ml-aoi"],
)
def test_the_item_says_where_the_labels_are_and_which_field_counts(folder: Path, assets: dict[str, Any]) -> None:
    found = ids(written(folder / "item.json", labelling(assets=assets)))
    np.testing.assert_array_equal(found, plain(folder))
    assert set(np.unique(found)) == {0, 1, 255}


def test_the_catalog_says_what_it_wants_otherwise(folder: Path) -> None:
    assets = {"a": {"href": "none.geojson", "roles": ["labels"]}, "b": {"href": "labels.geojson", "roles": ["labels"]}}
    items = [labelling("other", assets=assets), labelling("one", assets=assets, label_properties=["kind", "use"])]
    path = written(folder / "items.json", {"type": "FeatureCollection", "features": items})
    np.testing.assert_array_equal(ids(path, item="one", asset="b", field="use"), plain(folder, "use"))
    everything = ids(path, item="one", asset="b", default="wood", filter="kind == 'lake'", background="lake")
    np.testing.assert_array_equal(everything, np.where(plain(folder) == 1, 0, 1))
    with pytest.raises(LabelError, match=r"no such item(.|\n)*got: other, one(.|\n)*'item'"):
        ids(path)
    with pytest.raises(LabelError, match=r"name the asset(.|\n)*item one(.|\n)*got: a, b"):
        ids(path, item="one")
    with pytest.raises(LabelError, match=r"no such asset(.|\n)*expected: c(.|\n)*got: a, b"):
        ids(path, item="one", asset="c")
    with pytest.raises(LabelError, match=r"name the field(.|\n)*got: kind, use"):
        ids(path, item="one", asset="b")


def test_labels_on_the_web(folder: Path) -> None:
    written(folder / "item.json", labelling())
    with served(folder) as web:
        np.testing.assert_array_equal(ids(f"{web.url}/item.json"), plain(folder))
        assert "/labels.geojson" in {path for path, _ in web.asked}


def test_what_an_item_cannot_give(folder: Path) -> None:
    with pytest.raises(LabelError, match=r"are a raster(.|\n)*mask\.tif(.|\n)*kind 'raster'"):
        ids(written(folder / "a.json", labelling(assets={"labels": {"href": "mask.tif"}}, label_type="raster")))
    with pytest.raises(LabelError, match=r"no assets|name the asset(.|\n)*got: image"):
        ids(written(folder / "b.json", labelling(assets={"image": {"href": "i.tif"}})))
    with pytest.raises(LabelError, match=r"name the field(.|\n)*got: none"):
        ids(written(folder / "c.json", labelling(label_properties=None)))
    with pytest.raises(LabelError, match=r"STAC file can't be read(.|\n)*none\.json"):
        ids(str(folder / "none.json"))
    with pytest.raises(LabelError, match=r"the file is missing(.|\n)*gone\.geojson"):
        ids(written(folder / "d.json", labelling(assets={"labels": {"href": "gone.geojson"}})))
    with pytest.raises(
        LabelError, match=r"field properties\.label:properties(.|\n)*item one(.|\n)*a list(.|\n)*\"kind\""
    ):
        ids(written(folder / "e.json", labelling(label_properties="kind")))
    with pytest.raises(LabelError, match=r"field assets\.labels\.roles(.|\n)*a list(.|\n)*\"labels\""):
        ids(written(folder / "f.json", labelling(assets={"labels": {"href": "labels.geojson", "roles": "labels"}})))
    with pytest.raises(LabelError, match=r"field assets\.labels\.href(.|\n)*got: nothing"):
        ids(written(folder / "g.json", labelling(assets={"labels": {"roles": ["labels"]}})))
    with pytest.raises(LabelError, match=r"name the field(.|\n)*got: none"):
        ids(written(folder / "h.json", {**labelling(), "properties": None}))
    with pytest.raises(ValidationError, match="'field' or 'default'"):
        StacLabels(kind="stac", path="a.json", field="a", default="b")


def test_a_catalog_with_labels_and_areas_of_stac(tmp_path: Path) -> None:
    """A whole world by two files: an item for the labels, and a collection of areas with their splits."""
    catalog = write_world(tmp_path)
    item_path = written(tmp_path / "item.json", labelling(assets={"labels": {"href": "labels.gpkg"}}))
    areas = {"train": (0, 110), "validate": (115, 155), "test": (160, 200)}
    path = collection(tmp_path / "areas.json", {name: pixel_box(a, 0, b, 120) for name, (a, b) in areas.items()})
    content = json.loads(catalog.read_text())
    plain = {scene.id: scene for scene in read_catalog(catalog)}
    content["labels"]["l"] = {"kind": "stac", "path": item_path}
    for entry in content["scenes"]:
        entry.update({"aoi": path} if "aoi" in entry else {})
    catalog.write_text(json.dumps(content))
    task = segmentation(*KINDS)
    for scene in read_catalog(catalog):
        with (
            scene.open(("B1",), task) as one,
            plain[scene.id].open(("B1",), task) as two,
        ):
            window = one.grid.area
            np.testing.assert_array_equal(
                one.counted(window, np.ones(window.shape, bool)), two.counted(window, np.ones(window.shape, bool))
            )
            if two.labels is not None:
                assert one.labels is not None
                ours, theirs = (s.class_ids(window, all_touched=False) for s in (one.labels, two.labels))
                np.testing.assert_array_equal(ours, theirs)
        if scene.labels:
            assert {item_path, str(tmp_path / "labels.gpkg"), path} <= set(scene.files())


def collection(path: Path, areas: dict[str, Any]) -> str:
    """Write an ItemCollection with the ml-aoi extension, an item for each split."""
    degrees = geopandas.GeoSeries(list(areas.values()), crs=UTM).to_crs(4326)
    items = [
        {**item(f"i{number}", {}, **{"ml-aoi:split": split}), "geometry": mapping(area)}
        for number, (split, area) in enumerate(zip(areas, degrees, strict=True))
    ]
    return written(path, {"type": "FeatureCollection", "features": items})


def test_areas_of_items_count_by_the_scenes_split(tmp_path: Path) -> None:
    areas = {"train": pixel_box(0, 0, 20, 40), "validate": pixel_box(20, 0, 30, 40)}
    path = collection(tmp_path / "items.json", areas)
    for split, columns in (("train", range(20)), ("validation", range(20, 30)), ("predict", range(30))):
        aoi = open_aoi((path,), GRID, "s", split)
        assert aoi is not None
        np.testing.assert_array_equal(np.flatnonzero(aoi.mask(GRID.area).any(0)), columns)
    with pytest.raises(AOIError, match=r"no item is of the scene's split(.|\n)*split test(.|\n)*1 of train"):
        open_aoi((path,), GRID, "s", "test")


def test_one_item_without_a_split_is_an_area(tmp_path: Path) -> None:
    area = geopandas.GeoSeries([pixel_box(5, 5, 15, 15)], crs=UTM).to_crs(4326)[0]
    path = written(tmp_path / "item.json", {**labelling(), "geometry": mapping(area)})
    aoi = open_aoi((path,), GRID, "s", "train")
    assert aoi is not None
    assert aoi.mask(GRID.area).sum() == 100
