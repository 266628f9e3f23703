"""A scene knows where it counts."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from quadrat.errors import CatalogError
from quadrat.geo.grids.windows import Window
from quadrat.scenes.catalog import load_catalog, read_catalog, written
from quadrat.team.report import OWN as FILES
from tests.ground import BANDS, KINDS, segmentation, write_world


def test_within_the_area_of_interest_is_what_counts_of_valid_pixels(tmp_path: Path) -> None:
    scenes = {scene.id: scene for scene in read_catalog(write_world(tmp_path))}
    window = Window(0, 90, 120, 40)
    every = np.ones(window.shape, np.bool_)
    with scenes["w"].open(BANDS, segmentation(*KINDS)) as opened:  # its area ends at column 110
        inside = opened.inside(window)
        np.testing.assert_array_equal(inside, opened.counted(window, every))
        assert inside[:, :20].all()
        assert not inside[:, 20:].any()
    with scenes["all"].open(BANDS, segmentation(*KINDS)) as opened:  # which has none
        assert opened.inside(window).all()


def test_an_id_leaves_room_for_what_is_put_around_it(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    content = json.loads(catalog.read_text())
    content["scenes"][0]["id"] = longest = "a" * 244
    catalog.write_text(json.dumps(content))
    assert read_catalog(catalog)[0].id == longest
    for name in (f".part-{longest}", f".lock-{longest}", f"{longest}.png", *(f.replace("*", longest) for f in FILES)):
        (tmp_path / Path(name).name).touch()
    content["scenes"][0]["id"] = longest + "a"
    catalog.write_text(json.dumps(content))
    with pytest.raises(CatalogError, match="an id has at most 244 characters; this one has 245"):
        read_catalog(catalog)


def many(folder: Path, **entry: object) -> Path:
    """Write a catalog of scenes that are alike, over images and labels of their own."""
    content = {
        "images": {
            "tiles": {
                "sources": [{"path": "a/{id}_{band}.tif", "bands": ["red"]}, {"stac": "b/{id}.json", "bands": ["nir"]}]
            }
        },
        "labels": {
            "own": {"kind": "vector", "path": "c/{id}.gpkg", "default": "car"},
            "item": {"kind": "stac", "path": "c/items.json", "item": "{id}"},
            "all": {"kind": "raster", "path": "c/all.tif", "values": "ids"},
        },
        "scenes": [{"ids": ["n1", "n2"], "split": "train", "image": "tiles", **entry}],
    }
    path = folder / "many.json"
    path.write_text(json.dumps(content))
    return path


def test_many_scenes_have_the_files_that_their_ids_name(tmp_path: Path) -> None:
    path = many(tmp_path, labels=["own", "item", "all"], aoi=["d/{id}.geojson", "d/all.geojson"])
    first, second = read_catalog(path)
    assert (first.id, second.id) == ("n1", "n2")
    assert [source.path or source.stac for source in second.image.sources] == ["a/n2_{band}.tif", "b/n2.json"]
    assert [getattr(source, "item", None) or source.path for source in second.labels] == [
        "c/n2.gpkg",
        "n2",
        "c/all.tif",
    ]
    assert second.aoi == ("d/n2.geojson", "d/all.geojson")
    content = json.loads(path.read_text())
    content["scenes"] = [{**content["scenes"][0], "id": one} for one in content["scenes"][0].pop("ids")]
    path.write_text(json.dumps(content))
    assert read_catalog(path) == (first, second), "an entry for each is the same"
    (tmp_path / "spelt.yaml").write_bytes(written(load_catalog(many(tmp_path, labels="own")).spelt_out()))
    assert read_catalog(tmp_path / "spelt.yaml") == read_catalog(many(tmp_path, labels="own"))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"labels": "own", "id": "n3"}, "a scene has an 'id', or many alike have 'ids', and not both"),
        ({"labels": "own", "ids": []}, "a scene has an 'id', or many alike have 'ids', and not both"),
        ({"labels": "own", "ids": ["n1", "n2", "n1"]}, "these occur twice: n1"),
        ({"labels": "own", "ids": ["n1", "../n2"]}, "ids"),
        ({"labels": "none"}, "scene n1 names labels 'none'"),
        ({"labels": "own", "image": "one"}, "scenes n1, n2, … would be the same"),
        ({"labels": "layer"}, "labels.layer: {id} stands for a scene's id in path, stac, item, and nowhere else"),
        ({"labels": "own", "image": "dated"}, "images.dated: {id} stands for a scene's id in path, stac, item"),
    ],
)
def test_ids_that_name_no_scenes_are_errors(entry: dict[str, object], message: str, tmp_path: Path) -> None:
    path = many(tmp_path, **entry)
    content = json.loads(path.read_text())
    content["images"]["one"] = {"sources": [{"path": "a/one.tif", "bands": ["red"]}]}
    if entry["labels"] == "layer":
        content["labels"]["layer"] = {"kind": "vector", "path": "c/{id}.gpkg", "layer": "{id}", "default": "car"}
    if entry.get("image") == "dated":
        source = {"path": "a/{id}-{date}.tif", "bands": ["red"]}
        content["images"]["dated"] = {"dates": {"2020": "{id}"}, "sources": [source]}
    path.write_text(json.dumps(content))
    with pytest.raises(CatalogError, match=re.escape(message)):
        read_catalog(path)


def test_a_catalog_that_is_spelt_out_keeps_an_image_whose_name_is_like_those_it_adds(tmp_path: Path) -> None:
    path = many(tmp_path, labels="own")
    content = json.loads(path.read_text())
    content["images"]["tiles of n1"] = {"sources": [{"path": "a/own.tif", "bands": ["red"]}]}
    content["scenes"].append({"ids": ["n3"], "split": "predict", "image": "tiles of n1"})
    path.write_text(json.dumps(content))
    assert load_catalog(path).spelt_out().resolve() == read_catalog(path)
    assert [scene.image.sources[0].path for scene in read_catalog(path)][2:] == ["a/own.tif"]


def test_one_image_may_be_many_scenes_by_their_areas(tmp_path: Path) -> None:
    path = many(tmp_path, image="one", labels="all", aoi="d/{id}.geojson")
    content = json.loads(path.read_text())
    content["images"]["one"] = {"sources": [{"path": "a/one.tif", "bands": ["red"]}]}
    path.write_text(json.dumps(content))
    first, second = read_catalog(path)
    assert first.image == second.image
    assert first.aoi != second.aoi


@pytest.mark.parametrize("path", ["a/{id}*.tif", "a/*{id}.tif", "a/{id}?.tif", "a/[xy]{id}.tif"])
def test_a_pattern_that_an_id_touches_is_refused(path: str, tmp_path: Path) -> None:
    catalog = many(tmp_path, labels="own")
    content = json.loads(catalog.read_text())
    content["images"]["tiles"]["sources"][0]["path"] = path
    catalog.write_text(json.dumps(content))
    with pytest.raises(CatalogError, match=r"images\.tiles: .* would be files of other scenes, too"):
        read_catalog(catalog)
    content["images"]["tiles"]["sources"][0]["path"] = "a/{id}_*.tif"
    catalog.write_text(json.dumps(content))
    assert len(read_catalog(catalog)) == 2
