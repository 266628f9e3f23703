"""A new project is planned by looking at images and labels."""

import itertools
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
from affine import Affine
from shapely.geometry import Point

from quadrat.errors import ImageError, LabelError
from quadrat.geo.grids.windows import Window
from quadrat.new_project.plan import Plan
from quadrat.params import check_params
from tests.ground import NORTH_UP, pixel_box, write_areas, write_raster
from tests.new_project.town import SHAPE, planned, stripes, uses, write_image, write_labels


def windows(found: Plan) -> dict[str, Window]:
    return {area.split: area.place for area in found.aois.values()}


def test_an_image_and_labels_in_another_crs_give_catalog_and_parameters(tmp_path: Path) -> None:
    found = planned(write_image(tmp_path / "a town.tif"), write_labels(tmp_path / "uses.gpkg"))
    assert found.params["task"]["kind"] == "semantic_segmentation"
    assert [one["name"] for one in found.params["task"]["classes"]] == ["forest", "meadow", "water"]
    assert found.catalog["images"]["a-town"]["sources"] == [
        {"path": "data/raw/town/images/a-town.tif", "bands": ["red", "green", "blue"]}
    ]
    labels = {"kind": "vector", "path": "data/raw/town/labels/uses.gpkg", "field": "use"}
    assert found.catalog["labels"] == {"uses": labels}
    assert [scene["split"] for scene in found.catalog["scenes"]] == ["train", "validation", "test"]
    check_params(found.params, tmp_path)


def test_areas_of_an_image_are_a_chip_apart_and_each_has_labels_of_all_classes(tmp_path: Path) -> None:
    found = planned(write_image(tmp_path / "image.tif"), write_labels(tmp_path / "uses.gpkg"))
    chip = found.params["chip"]["chip_size"]
    ordered = sorted(windows(found).values(), key=lambda one: one.col)
    assert all(other.col - one.right >= chip for one, other in itertools.pairwise(ordered))
    assert all(one.width >= chip for one in ordered)
    assert found.gap == f"{chip} px (320 m)"


def test_areas_are_cut_along_the_side_that_gives_all_classes_to_training(tmp_path: Path) -> None:
    shape = (200, 260)
    labels = np.ones((1, *shape), np.uint8)
    labels[:, :, 170:] = 2  # a class in the east alone
    image, raster = write_image(tmp_path / "image.tif", shape=shape), write_raster(tmp_path / "labels.tif", labels)
    found = windows(planned(image, raster))
    assert {one.width for one in found.values()} == {260}


def test_three_tiles_are_held_out_whole_and_touching_tiles_are_apart(tmp_path: Path) -> None:
    tiles = [NORTH_UP @ Affine.translation(0, SHAPE[0] * n) for n in range(3)]
    images = [write_image(tmp_path / f"tile{n}.tif", transform=tile) for n, tile in enumerate(tiles)]
    areas = [area for tile in tiles for area in stripes(tile)]
    labels = write_areas(tmp_path / "all.gpkg", areas, {"class": uses(len(areas))})
    found = planned(images, labels)
    assert sorted(scene["split"] for scene in found.catalog["scenes"]) == ["test", "train", "validation"]
    assert not found.aois
    assert found.params["aoi"] == found.params["raw"]


def test_files_of_one_band_each_are_one_image_of_several_resolutions(tmp_path: Path) -> None:
    height, width = SHAPE
    for name, factor in (("B02", 1), ("B03", 1), ("B11", 2)):
        pixels = np.full((1, height // factor, width // factor), 7, np.uint16)
        pixels[:, ::2] = 9
        write_raster(tmp_path / f"images/S2_{name}_2020.tif", pixels, NORTH_UP @ Affine.scale(factor))
    found = planned(tmp_path / "images", write_labels(tmp_path / "uses.gpkg"))
    assert found.catalog["images"] == {
        "S2": {
            "sources": [
                {"path": "data/raw/town/images/S2_{band}_2020.tif", "bands": ["B02", "B03"]},
                {"path": "data/raw/town/images/S2_{band}_2020.tif", "bands": ["B11"], "resampling": "bilinear"},
            ]
        }
    }
    assert found.params["bands"] == ["B02", "B03", "B11"]


def test_a_raster_of_classes_gives_its_colours_and_names_no_nodata(tmp_path: Path) -> None:
    labels = np.tile(np.repeat(np.arange(16) % 3, 20).astype(np.uint8), (1, SHAPE[0], 1))
    path = write_raster(tmp_path / "cover.tif", labels, nodata=0)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {1: (31, 111, 58, 255), 2: (52, 118, 196, 255)})
    found = planned(write_image(tmp_path / "image.tif"), path)
    assert found.params["task"]["classes"] == [{"name": "1", "color": "#1f6f3a"}, {"name": "2", "color": "#3476c4"}]
    assert found.catalog["labels"]["cover"]["values"] == "ids"


def test_a_raster_of_colours_gives_a_class_for_each(tmp_path: Path) -> None:
    use = np.repeat(np.arange(16) % 2, 20).astype(np.uint8)
    painted = np.stack([np.tile(np.where(use, 200, 10), (SHAPE[0], 1))] * 3).astype(np.uint8)
    found = planned(write_image(tmp_path / "image.tif"), write_raster(tmp_path / "painted.tif", painted))
    assert [one["color"] for one in found.params["task"]["classes"]] == ["#0a0a0a", "#c8c8c8"]
    assert found.catalog["labels"]["painted"]["values"] == "colors"


def test_a_raster_of_fractions_is_learnt_as_values_of_its_range(tmp_path: Path) -> None:
    heights = np.linspace(0, 30, SHAPE[1], dtype=np.float32)
    found = planned(
        write_image(tmp_path / "image.tif"),
        write_raster(tmp_path / "height.tif", np.tile(heights, (1, SHAPE[0], 1))),
    )
    assert found.params["task"]["kind"] == "pixel_regression"
    assert found.params["task"]["range"] == pytest.approx([0.3, 29.7], abs=0.05)


def test_one_class_of_polygons_gets_a_background(tmp_path: Path) -> None:
    labels = write_areas(tmp_path / "houses.gpkg", stripes()[::2])
    found = planned(write_image(tmp_path / "image.tif"), labels)
    assert [one["name"] for one in found.params["task"]["classes"]] == ["houses", "background"]
    assert found.catalog["labels"]["houses"] | {"path": ""} == {
        "kind": "vector",
        "path": "",
        "default": "houses",
        "background": "background",
    }


def test_a_telling_field_of_one_value_names_the_class(tmp_path: Path) -> None:
    labels = write_areas(
        tmp_path / "l.gpkg", stripes()[::2], {"label": ["Tree"] * 8, "height": [n / 3 for n in range(8)]}
    )
    found = planned(write_image(tmp_path / "image.tif"), labels)
    assert [one["name"] for one in found.params["task"]["classes"]] == ["Tree", "background"]


def test_values_that_differ_in_case_are_one_class(tmp_path: Path) -> None:
    names = [name.upper() if n == 3 else name for n, name in enumerate(uses(16))]
    labels = write_areas(tmp_path / "l.gpkg", stripes(), {"use": names})
    classes = planned(write_image(tmp_path / "image.tif"), labels).params["task"]["classes"]
    assert [one["from"] for one in classes if "from" in one] == [["FOREST", "forest"]]


def test_cells_are_classified_in_chips_that_hold_them(tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "uses.gpkg")
    found = planned(write_image(tmp_path / "image.tif"), labels, task="chip_classification")
    assert found.params["task"]["cell_size"] == found.params["chip"]["chip_size"] // 2


def test_objects_are_detected_with_sizes_that_fit_them(tmp_path: Path) -> None:
    places = [(col, row) for col in range(20, 1000, 40) for row in range(20, 150, 40)]
    boxes = [pixel_box(col, row, col + 20, row + 20) for col, row in places]
    labels = write_areas(tmp_path / "cars.gpkg", boxes)
    found = planned(write_image(tmp_path / "image.tif", shape=(160, 1040)), labels, task="object_detection")
    assert found.params["chip"]["chip_size"] >= 4 * 20
    assert found.params["predict"]["window_size"] - found.params["predict"]["stride"] >= 20
    assert found.params["model"]["strides"] == [8, 16]
    assert found.params["eval"]["match"]


def test_a_class_that_training_ground_lacks_is_dropped_and_noted(tmp_path: Path) -> None:
    areas = [*stripes(), pixel_box(400, 0, 420, 60)]  # the last is beyond the image
    labels = write_areas(tmp_path / "uses.gpkg", areas, {"use": [*uses(16), "rare"]})
    found = planned(write_image(tmp_path / "image.tif"), labels)
    assert [one["name"] for one in found.params["task"]["classes"]] == ["forest", "meadow", "water"]
    assert found.catalog["labels"]["uses"]["drop"] == ["rare"]
    assert any("rare" in note for note in found.notes)


def test_pixels_that_are_black_to_a_corner_are_nodata(tmp_path: Path) -> None:
    path = write_image(tmp_path / "image.tif")
    with rasterio.open(path, "r+") as file:
        pixels = file.read()
        pixels[:, :, :20] = 0
        file.write(pixels)
    found = planned(path, write_labels(tmp_path / "uses.gpkg"))
    assert found.catalog["images"]["image"]["sources"][0]["nodata"] == 0
    assert any("taken as nodata" in note for note in found.notes)


def test_labels_in_the_folder_of_the_images_are_no_image(tmp_path: Path) -> None:
    write_image(tmp_path / "image.tif")
    use = np.tile(np.repeat(np.arange(16) % 2, 20).astype(np.uint8), (1, SHAPE[0], 1))
    found = planned(tmp_path, write_raster(tmp_path / "mask.tif", use))
    assert [*found.catalog["images"]] == ["image"]
    assert [one["name"] for one in found.params["task"]["classes"]] == ["background", "object"]


def test_labels_of_each_image_are_found_by_name(tmp_path: Path) -> None:
    for n in range(3):
        tile = NORTH_UP @ Affine.translation(2 * SHAPE[1] * n, 0)
        write_image(tmp_path / f"images/t{n}.tif", transform=tile)
        write_areas(tmp_path / f"labels/t{n}_uses.gpkg", stripes(tile), {"use": uses(16)})
    found = planned(tmp_path / "images", tmp_path / "labels")
    assert [(one["image"], one["labels"]) for one in found.catalog["scenes"]] == [
        (f"t{n}", f"t{n}_uses") for n in range(3)
    ]


def test_labels_of_other_names_are_found_by_the_ground_that_they_cover(tmp_path: Path) -> None:
    for n, name in enumerate(("west", "middle", "east")):
        tile = NORTH_UP @ Affine.translation(2 * SHAPE[1] * n, 0)
        write_image(tmp_path / f"images/t{n}.tif", transform=tile)
        write_areas(tmp_path / f"labels/{name}.gpkg", stripes(tile), {"use": uses(16)}, to_crs="EPSG:3857")
    found = planned(tmp_path / "images", tmp_path / "labels")
    assert [one["labels"] for one in found.catalog["scenes"]] == ["west", "middle", "east"]


def test_a_second_file_of_labels_of_the_same_ground_is_an_error(tmp_path: Path) -> None:
    labels = [write_labels(tmp_path / f"{name}.gpkg") for name in ("houses", "roads")]
    with pytest.raises(LabelError, match="not clear which belongs to which image"):
        planned(write_image(tmp_path / "image.tif"), *labels)


def test_labels_that_lie_elsewhere_are_an_error(tmp_path: Path) -> None:
    far = write_areas(tmp_path / "far.gpkg", [Point(0, 0).buffer(9), Point(99, 0).buffer(9)], {"use": ["a", "b"]})
    with pytest.raises(LabelError, match="no label lies on the image"):
        planned(write_image(tmp_path / "image.tif"), far, field="use")


def test_labels_without_a_crs_are_an_error(tmp_path: Path) -> None:
    labels = write_areas(tmp_path / "uses.geojson", stripes(), {"use": uses(16)}, crs=None)
    image = write_image(tmp_path / "image.tif")
    with pytest.raises(LabelError, match="CRS"):
        planned(image, labels)


def test_an_image_too_small_to_be_split_is_an_error_that_says_what_it_takes(tmp_path: Path) -> None:
    labels = write_areas(tmp_path / "uses.gpkg", stripes()[:4], {"use": uses(4)})
    with pytest.raises(ImageError, match="at least 160 × 32 px"):
        planned(write_image(tmp_path / "image.tif", shape=(60, 80)), labels)


def test_a_field_that_cannot_be_told_is_asked_for_with_its_values(tmp_path: Path) -> None:
    fields = {"a": uses(16), "b": ["x", "y"] * 8}
    labels, image = write_areas(tmp_path / "l.gpkg", stripes(), fields), write_image(tmp_path / "image.tif")
    with pytest.raises(LabelError, match="--field: a, b") as error:
        planned(image, labels)
    assert "b: x (8), y (8)" in str(error.value)
    assert planned(image, labels, field="b").catalog["labels"]["l"]["field"] == "b"
    with pytest.raises(LabelError, match="no such field"):
        planned(image, labels, field="c")


def test_a_fourth_band_of_many_values_is_a_band_although_the_file_calls_it_alpha(tmp_path: Path) -> None:
    found = planned(write_image(tmp_path / "image.tif", 4), write_labels(tmp_path / "uses.gpkg"))
    assert found.params["bands"] == ["red", "green", "blue", "B4"]
    assert found.params["eval"]["pictures"]["bands"] == ["red", "green", "blue"]


def test_a_damaged_image_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write_image(tmp_path / "image.tif", 4)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(ImageError, match=f"file: {path}"):
        planned(path, write_labels(tmp_path / "uses.gpkg"))


def test_labels_that_are_no_raster_are_an_error_of_labels(tmp_path: Path) -> None:
    (tmp_path / "labels.tif").write_text("none")
    with pytest.raises(LabelError, match="not recognized as being in a supported file format"):
        planned(write_image(tmp_path / "image.tif"), tmp_path / "labels.tif")


def test_an_image_that_the_labels_of_all_images_do_not_reach_is_only_predicted(tmp_path: Path) -> None:
    images = [
        write_image(tmp_path / "images/near.tif"),
        write_image(tmp_path / "images/far.tif", transform=NORTH_UP @ Affine.translation(9999, 0)),
    ]
    found = planned(images, write_labels(tmp_path / "uses.gpkg"))
    assert found.catalog["scenes"][-1] == {"id": "far", "split": "predict", "image": "far"}
    assert "no labels on far: only predicted" in found.notes


def test_labels_of_one_image_that_lie_elsewhere_are_an_error_though_others_do_not(tmp_path: Path) -> None:
    images = [
        write_image(tmp_path / f"t{n}.tif", transform=NORTH_UP @ Affine.translation(999 * n, 0)) for n in range(3)
    ]
    fields = {"use": uses(16)}
    labels = [write_areas(tmp_path / f"t{n}.gpkg", stripes(), fields) for n in range(3)]
    with pytest.raises(LabelError, match="no label lies on the image"):
        planned(images, *labels)


def test_images_that_overlap_cannot_be_held_out(tmp_path: Path) -> None:
    images = [write_image(tmp_path / f"t{n}.tif", transform=NORTH_UP @ Affine.translation(9 * n, 0)) for n in range(2)]
    with pytest.raises(ImageError, match="share ground"):
        planned(images, write_labels(tmp_path / "uses.gpkg"))


def test_images_with_other_bands_are_an_error(tmp_path: Path) -> None:
    images = [write_image(tmp_path / "a.tif"), write_image(tmp_path / "b.tif", 4)]
    with pytest.raises(ImageError, match="differ in their bands"):
        planned(images, write_labels(tmp_path / "uses.gpkg"))


@pytest.mark.parametrize("task", ["object_detection", "pixel_regression"])
def test_labels_of_another_form_than_the_task_takes_are_an_error(tmp_path: Path, task: str) -> None:
    raster = write_raster(tmp_path / "labels.tif", np.ones((1, *SHAPE), np.uint8))
    labels = raster if task == "object_detection" else write_labels(tmp_path / "uses.gpkg")
    with pytest.raises(LabelError, match="hint: make"):
        planned(write_image(tmp_path / "image.tif"), labels, task=task)


def test_a_path_without_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="the file is missing"):
        planned(tmp_path / "none.tif", write_labels(tmp_path / "uses.gpkg"))


def test_of_several_layers_one_is_asked_for(tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "uses.gpkg")
    pyogrio.write_dataframe(pyogrio.read_dataframe(labels), labels, layer="more")
    with pytest.raises(LabelError, match=r"several layers(.|\n)*got: (.|\n)*more\n  hint: name one of them by --layer"):
        planned(write_image(tmp_path / "image.tif"), labels)
