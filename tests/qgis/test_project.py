"""A run as a project of QGIS, of which QGIS itself says what it sees, where it is installed."""

import json
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely

from quadrat.errors import OutputError
from quadrat.params import Params
from quadrat.pipeline.eval import Eval
from quadrat.prediction.sliding_window import Predict
from quadrat.prediction.writers import writer_for
from quadrat.qgis.project import write_workspace
from quadrat.runtime.parallel import Threads
from quadrat.runtime.run import Paths
from quadrat.tasks.common.outputs import Features, VectorLayer
from tests.bundling import FOREST, SECTIONS, TASK, prepared, sections
from tests.ground import BANDS, detection, kept, opened, pixel_box, write_areas, write_world
from tests.qgis_python import asked
from tests.stage_calls import predict

SEE = """
project = QgsProject.instance()
assert project.read(sys.argv[1])
root = project.layerTreeRoot()
seen = {"crs": project.crs().authid(), "groups": {}}
for group in root.children():
    layers = {}
    for node in group.children():
        layer = node.layer()
        layers[node.name()] = {"valid": bool(layer and layer.isValid()), "shown": node.itemVisibilityChecked()}
        if layer.type() == QgsMapLayer.VectorLayer:
            layers[node.name()]["features"] = layer.featureCount()
    seen["groups"][group.name()] = [group.itemVisibilityChecked(), layers]
settings = QgsMapSettings()
settings.setLayers([layer for layer in root.layerOrder() if root.findLayer(layer).isVisible()])
settings.setDestinationCrs(project.crs())
settings.setOutputSize(QtCore.QSize(400, 400))
settings.setExtent(project.mapLayersByName("area of interest")[0].extent())
job = QgsMapRendererSequentialJob(settings)
job.start()
job.waitForFinished()
image = job.renderedImage()
colors = [image.pixelColor(x, y).name() for x in range(150, 250, 4) for y in range(0, 400, 4)]
seen["colors"] = {color: colors.count(color) for color in set(colors)}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Params, Paths]:
    root = prepared(tmp_path_factory.mktemp("run"), FOREST)
    about = {"task": TASK, "bands": BANDS, "baseline": None, "predict": SECTIONS["predict"]}
    how = {"batch": 4, "executor": Threads(1), "pins": root / "pins.json", **kept(root, "prediction")}
    paths = {"model_folder": root / "model", "baseline_folder": root / "none", "predictions": root / "predictions"}
    predict(scenes=root / "scenes.yaml", **about, **paths, **how)
    own = Paths(predictions=root / "predictions", chips=root / "chips", table=root / "table")
    return Params.model_construct(**sections(root, FOREST)), own


@pytest.fixture(scope="module")
def project(run: tuple[Params, Paths], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_workspace(*run, tmp_path_factory.mktemp("project") / "qgis")


def groups(path: Path) -> dict[str, list[str]]:
    """Return the names of the layers of each group."""
    with zipfile.ZipFile(path) as file:
        root = ET.fromstring(file.read("project.qgs"))  # noqa: S314 (our own)
    tree = root.find("layer-tree-group")
    assert tree is not None
    return {group.attrib["name"]: [layer.attrib["name"] for layer in group] for group in tree}


LAYERS = ["area of interest", "error", "labels", "prediction: polygons", "prediction", "image"]


def test_each_scene_has_a_group_of_what_there_is(run: tuple[Params, Paths], tmp_path: Path) -> None:
    path = write_workspace(*run, tmp_path / "qgis")
    assert groups(path) == {
        "e (test)": LAYERS,
        "w (train)": ["area of interest", "chips", "labels", "image"],
        "m (validation)": ["area of interest", "chips", *LAYERS[1:]],
        "all (predict)": LAYERS[3:],
    }
    before = {one.name: one.read_bytes() for one in path.parent.iterdir() if one.suffix != ".gpkg"}
    write_workspace(*run, tmp_path / "qgis")
    assert {one.name: one.read_bytes() for one in path.parent.iterdir() if one.suffix != ".gpkg"} == before
    (path.parent / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="other files"):
        write_workspace(*run, tmp_path / "qgis")


def test_the_error_is_where_labels_and_prediction_differ(run: tuple[Params, Paths], project: Path) -> None:
    folder = project.parent
    names = (folder / "e-labels.tif", run[1].predictions / "e/labels.tif", folder / "e-error.tif")
    truth, predicted, error = (rasterio.open(path).read(1) for path in names)
    labelled = truth != 255
    assert labelled.sum() == 40 * 120  # the area of interest alone
    np.testing.assert_array_equal(error[labelled] == 0, truth[labelled] == predicted[labelled])
    assert (error[~labelled] == 255).all()


def test_the_image_is_the_catalogs_file(run: tuple[Params, Paths], project: Path) -> None:
    folder = project.parent
    with rasterio.open(folder / "e.vrt") as shown, rasterio.open(run[0].scenes.parent / "image.tif") as file:
        assert shown.descriptions == BANDS
        np.testing.assert_array_equal(shown.read(), file.read())
    text = (folder / "e.vrt").read_text()
    assert str(run[0].scenes.parent) not in text
    assert 'relativeToVRT="1"' in text


def test_tables_hold_what_qgis_cant_read(project: Path) -> None:
    folder = project.parent
    tables = set(pyogrio.list_layers(folder / "project.gpkg")[:, 0])
    assert tables >= {"scenes", "chips", "e_polygons", "e_aoi", "w_aoi"}
    chips = pyogrio.read_dataframe(folder / "project.gpkg", layer="chips")
    assert set(chips["scene"]) == {"w", "m"}


def test_qgis_opens_the_project(project: Path) -> None:
    seen = asked(f"from qgis.PyQt import QtCore\n{SEE}", project)
    assert seen["crs"] == "EPSG:32633"
    assert [name for name, (shown, _) in seen["groups"].items() if shown] == ["e (test)"]
    layers = {name: layers for name, (_, layers) in seen["groups"].items()}
    assert all(layer["valid"] for some in layers.values() for layer in some.values())
    assert [name for name, layer in layers["e (test)"].items() if layer["shown"]] == [
        "area of interest",
        "prediction",
        "image",
    ]
    assert layers["e (test)"]["prediction: polygons"]["features"] > 0
    assert layers["w (train)"]["chips"]["features"] > layers["m (validation)"]["chips"]["features"] > 0
    assert {one.color for one in TASK.classes} <= seen["colors"].keys()


def found(root: Path, catalog: Path, **predicted: Any) -> tuple[Params, Paths]:
    """Return a run of a detector that has seen three trees in the test scene, and missed one."""
    task = detection("tree")
    write_areas(root / "trees.gpkg", [pixel_box(c, 20, c + 6, 26) for c in (165, 175, 185)], {"kind": ["tree"] * 3})
    content = json.loads(catalog.read_text())
    content["labels"]["l"]["path"] = str(root / "trees.gpkg")
    content["scenes"] = [one for one in content["scenes"] if one["id"] == "e"]
    catalog.write_text(json.dumps(content))
    layers = {"kind": "object_detection", "min_score": 0.1, "max_detections": 9, **predicted}
    layers["nms"] = {"measure": "iou", "overlap": 0.5}
    boxes = shapely.box([165, 175, 190, 20], [20, 20, 60, 5], [171, 181, 196, 26], [26, 26, 66, 11])
    fields = {"class": np.array(["tree"] * 3, object), "score": np.array([0.9, 0.3, 0.8])}
    with opened(root / "image.tif", BANDS) as raster:
        grid = raster.grid
    file = predicted.get("detections", "detections.parquet")
    with writer_for(VectorLayer("detections", file, task.classes), grid, root / "predictions/e", {}) as writer:
        writer.write(Features("detections", boxes[:3], fields))
    own = {"task": task, "eval": Eval.model_validate({"match": {"iou": 0.5, "score": 0.5}})}
    own["predict"] = Predict.model_validate({"window_size": 64, "stride": 32, "layers": layers})
    return Params.model_construct(**{**sections(root, FOREST), **own}), Paths(predictions=root / "predictions")


@pytest.mark.parametrize("ending", ["parquet", "gpkg", "geojson"])
def test_objects_are_shown_with_what_was_missed(ending: str, tmp_path: Path) -> None:
    params, paths = found(tmp_path, write_world(tmp_path), detections=f"detections.{ending}")
    path = write_workspace(params, paths, tmp_path / "qgis")
    assert groups(path) == {"e (test)": ["area of interest", "error", "labels", "prediction: detections", "image"]}
    errors = pyogrio.read_dataframe(path.with_name("project.gpkg"), layer="e_error")
    assert sorted(errors["kind"]) == ["missed", "missed", "right", "wrong"]
    seen = asked(f"from qgis.PyQt import QtCore\n{SEE}", path)
    layers = seen["groups"]["e (test)"][1]
    assert all(layer["valid"] for layer in layers.values())
    assert (layers["labels"]["features"], layers["prediction: detections"]["features"]) == (3, 3)


def test_images_on_another_grid_become_a_picture(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    content = json.loads(catalog.read_text())
    content["images"]["i"]["grid"] = {"resolution": 20, "resampling": "average"}
    content["scenes"] = [{"id": "all", "split": "predict", "image": "i"}]
    catalog.write_text(json.dumps(content))
    params = Params.model_construct(**sections(tmp_path, FOREST))
    path = write_workspace(params, Paths(predictions=tmp_path / "none"), tmp_path / "qgis")
    assert groups(path) == {"all (predict)": ["image"]}
    with rasterio.open(path.with_name("all-image.tif")) as file:
        assert (file.shape, file.res, file.count) == ((60, 100), (20, 20), 3)
        assert 100 < np.nanmean(file.read()) < 3000
