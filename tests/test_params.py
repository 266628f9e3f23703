"""Wrong parameters and catalogs stop at once, with file, key and the nearest valid key."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from quadrat.errors import CatalogError, ParamsError
from quadrat.params import check_params, read_params
from quadrat.scenes.catalog import read_catalog

PEAKS = {"kind": "peaks", "bands": {"B03": 1.0}, "smoothing": 2.0, "distance": 4}


def named(name: str) -> dict[str, Any]:
    """Return a class that no label names."""
    return {"name": name, "color": "#000000", "from": []}


def changed(source: Path, to: Path, key: str, value: Any) -> Path:
    """Copy a YAML file with the value at a dotted ``key`` set, or taken out if it is ``...``."""
    content = YAML(typ="safe").load(source)
    *parents, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    node = content
    for part in parents:
        node = node[part]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    YAML().dump(content, to)
    return to


def test_the_default_parameters_are_complete(root: Path) -> None:
    params = read_params(root / "params.yaml")
    assert len(params.task.classes) == 8
    assert len(params.bands) == 13


NOTHING = dict.fromkeys(["farm", "forest", "grass", "meadow", "residential", "scrub", "water", "wetland"], 0.0)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("learning_rate", 0.1, r"learning_rate: there is no such key"),
        ("epoch", 3, r"epoch: there is no such key(.|\n)*did you mean 'epochs'\?"),
        ("chip.chip_sise", 64, r"chip\.chip_sise: there is no such key(.|\n)*did you mean 'chip_size'\?"),
        ("eval.pictures.longest_sied", 9, r"longest_sied: there is no such key(.|\n)*did you mean 'longest_side'\?"),
        ("train.loss.dise", 1, r"train\.loss\.dise(.|\n)*did you mean 'dice'\?"),
        ("model.enocder", "x", r"enocder: there is no such key(.|\n)*did you mean 'encoder'\?"),
        ("chip.windows.cuont", 3, r"cuont: there is no such key(.|\n)*did you mean 'count'\?"),
        ("lr", "fast", r"lr: Input should be a valid number(.|\n)*got: \"fast\""),
        ("lr", "1e-3", r"lr: Input should be a valid number"),
        ("epochs", 2.5, r"epochs: Input should be a valid integer"),
        ("epochs", True, r"epochs: Input should be a valid integer"),
        ("epochs", 0, r"epochs: 0 would leave random weights"),
        ("lr", -1.0, r"lr: Input should be greater than 0"),
        ("lr", ..., r"lr: Field required"),
        ("train.loss.class_weights", {"moor": 2.0}, r"train\.loss(.|\n)*class_weights and class_balance both"),
        (
            "train.loss",
            {"kind": "semantic_segmentation", "class_weights": {"moor": 2.0}},
            r"class_weights names no class(.|\n)*moor",
        ),
        ("train.loss", {"kind": "semantic_segmentation", "class_weights": NOTHING}, r"leaves no class to learn"),
        ("train.loss", {"kind": "plugin"}, r"train\.loss\.name: Field required"),
        ("train.loss", {"kind": "plugin", "name": "Focal"}, r"train\.loss\.name: a plugin is named plugins\.MODULE"),
        (
            "train.augment",
            {"plugin": {"name": "plugins:A"}},
            r"train\.augment\.plugin\.name: plugins:A names no module",
        ),
        ("model", {"kind": "plugin", "name": "plugins.a:B", "multiple": 48}, r"chip_size must be a multiple of 48"),
        ("model.pretrained", True, r"pretrained: there is no such key(.|\n)*'start'"),
        ("model.start", {"kind": "tim"}, r"start: (.|\n)*did you mean 'timm'\?"),
        ("model.start", {"kind": "timm"}, r"start\.bands: Field required"),
        ("model.start", {"kind": "timm", "bands": ["B02", "B02"]}, r"start(.|\n)*names must differ: B02, B02"),
        ("model.start", {"kind": "bundle", "path": "../other/bundle.zip"}, r"must lie in data/weights"),
        ("model.start", {"kind": "bundle", "path": "data/weights/../raw/a.zip"}, r"must lie in data/weights"),
        ("model.start", {"kind": "bundle", "path": "/data/weights/a.zip"}, r"must lie in data/weights"),
        ("model.freeze", "norms", r"freeze norms would leave random weights untrained"),
        ("model.kind", "magic", r"model: .*'forest', 'plugin', 'segmenter'"),
        ("model.kind", "peaks", r"model: .*'detector'"),
        ("baseline", PEAKS, r"baseline\.kind peaks can't learn this task, semantic_segmentation: forest can"),
        ("baseline.kind", "detector", r"baseline: .*'peaks'"),
        ("predict.stride", 500, r"leaves gaps"),
        ("predict.window_size", 100, r"predict.window_size must be a multiple of 32"),
        ("chip.windows", {"kind": "sliding", "stride": 65, "padding": 0}, r"chip: windows.stride 65 leaves gaps"),
        ("predict.layers.polygons", "polygons.shp", r"polygons is the name of a file that ends in \.parquet"),
        ("predict.layers.polygons", "../polygons.gpkg", r"polygons is the name of a file"),
        ("chip.target_classes", ["moor"], r"names no class of the task: moor"),
        ("predict.layers.polygon_classes", ["moor"], r"predict\.layers names no class of the task: moor"),
        ("predict.layers.polygon_classes", [], r"polygon_classes(.|\n)*at least 1 item"),
        ("predict.layers.outlines", {"kind": "round"}, r"outlines: .*'edges', 'simplified', 'right_angled'"),
        ("predict.layers.outlines", {"kind": "right_angled", "tolerance": 0.5}, r"greater than or equal to 1"),
        ("predict.layers.outlines", {"kind": "simplified"}, r"outlines\.tolerance: Field required"),
        ("eval.match", {"iou": 0.5, "score": 0.5}, r"eval\.match must be null for the task semantic_segmentation"),
        ("model.kind", "segmnter", r"model: (.|\n)*did you mean 'segmenter'\?"),
        ("model.architecture", "unetplus", r"architecture: (.|\n)*did you mean 'unetplusplus'\?"),
        ("train.loss.kind", "object_detection", r"train\.loss is of object_detection, and task\.kind is semantic_seg"),
        ("predict.layers.kind", "object_detection", r"predict\.layers is of object_detection, and task\.kind is sem"),
        ("predict.layers", {"min_score": 0.1}, r"predict\.layers is of object_detection, and task\.kind is semantic_s"),
        ("task.kind", "object_detection", r"train\.loss and predict\.layers are of semantic_segmentation, and task\.k"),
        ("task.kind", "object_detecton", r"task: (.|\n)*did you mean 'object_detection'\?"),
        ("bands", ["B02", "B02"], r"bands must differ"),
        ("task.classes.1.name", "farm", r"class names must differ: farm"),
        ("task.classes.1.name", "Farm", r"class names must differ in more than case(.|\n)*: farm, Farm"),
        ("task.classes", [named("é"), named("e\u0301")], r"class names must differ: é"),
        ("task.classes.1.name", "a\nb", r"task\.classes\.1\.name: names of classes can't hold the character '\\n'"),
        ("task.classes.1.name", "a\ufffeb", r"names of classes can't hold the character '\\ufffe'"),
        ("task.classes.1.name", "farm ", r"task\.classes\.1\.name: names of classes can't start or end with spaces"),
        ("task.classes.1.name", " ", r"can't start or end with spaces"),
        ("task.classes.1.name", "", r"task\.classes\.1\.name: String should have at least 1 character"),
        ("task.classes.1.name", "–", r"– stands for no class in the confusion matrix"),
        ("task.classes.1.from", ["1", "2", "1"], r"values under 'from' must differ: 1"),
        ("task.classes.1.from", ["é", "e\u0301"], r"values under 'from' must differ: é"),
        ("task.classes.0.color", "red", r"task\.classes\.0\.color"),
    ],
)
def test_what_is_wrong_is_named(root: Path, tmp_path: Path, key: str, value: Any, message: str) -> None:
    path = changed(root / "params.yaml", tmp_path / "params.yaml", key, value)
    with pytest.raises(ParamsError, match=message) as raised:
        read_params(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    "start",
    [
        {"kind": "timm", "bands": ["B04", "B03", "B02"]},
        {"kind": "bundle", "path": "data/weights/a.zip", "part": "encoder"},
        {"kind": "bundle", "path": "data/weights/a.zip"},
    ],
)
def test_without_epochs_no_part_of_the_network_may_be_random(root: Path, tmp_path: Path, start: dict[str, Any]) -> None:
    path = changed(root / "params.yaml", tmp_path / "a.yaml", "model.start", start)
    path = changed(path, tmp_path / "b.yaml", "epochs", 0)
    if start["kind"] == "bundle" and "part" not in start:
        assert read_params(path).epochs == 0
        return
    with pytest.raises(ParamsError, match="epochs: 0 would leave random weights"):
        read_params(path)


@pytest.mark.parametrize(
    ("key", "misspelt", "hint"),
    [
        ("epochs", "epoch", "'epoch': did you mean 'epochs'?"),
        ("chip.chip_size", "chip.chip_sise", "'chip_sise': did you mean 'chip_size'?"),
        ("model.encoder", "model.backbone", None),
    ],
)
def test_a_key_that_is_missing_under_another_name_is_named(
    root: Path, tmp_path: Path, key: str, misspelt: str, hint: str | None
) -> None:
    path = changed(root / "params.yaml", tmp_path / "a.yaml", key, ...)
    with pytest.raises(ParamsError) as raised:
        read_params(changed(path, tmp_path / "b.yaml", misspelt, 3))
    assert raised.value.hint == hint


def test_a_section_of_another_task_is_told_in_one_line(root: Path, tmp_path: Path) -> None:
    for kind in ("object_detection", "chip_classification", "pixel_regression"):
        with pytest.raises(ParamsError) as raised:
            read_params(changed(root / "params.yaml", tmp_path / "a.yaml", "task.kind", kind))
        expected = f"train.loss and predict.layers are of semantic_segmentation, and task.kind is {kind}"
        assert raised.value.problem == expected


def test_all_errors_are_reported_at_once(root: Path, tmp_path: Path) -> None:
    path = changed(root / "params.yaml", tmp_path / "a.yaml", "lr", "fast")
    path = changed(path, tmp_path / "b.yaml", "epochs", -1)
    with pytest.raises(ParamsError, match=r"lr(.|\n)*also epochs"):
        read_params(path)


def test_numbers_as_dvc_writes_them(root: Path, tmp_path: Path) -> None:
    text = (root / "params.yaml").read_text(encoding="utf-8").replace("lr: 0.002", "lr: 1e-05")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    assert read_params(tmp_path / "params.yaml").lr == 1e-5


def test_a_missing_file_and_one_that_is_not_yaml(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"missing(.|\n)*none\.yaml"):
        read_params(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1, 2", encoding="utf-8")
    with pytest.raises(ParamsError, match="isn't YAML"):
        read_params(tmp_path / "bad.yaml")
    (tmp_path / "empty.yaml").write_text("", encoding="utf-8")
    with pytest.raises(ParamsError):
        read_params(tmp_path / "empty.yaml")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("scenes.0.splitt", "train", r"scenes\.0\.splitt: there is no such key(.|\n)*did you mean 'split'\?"),
        ("scenes.0.split", "training", r"scenes\.0\.split(.|\n)*'train', 'validation', 'test' or 'predict'"),
        ("scenes.0.image", "t33", r"scene west names image 't33'; the catalog has t33uuu"),
        ("scenes.0.labels", "none", r"scene west names labels 'none'; the catalog has osm"),
        ("scenes.0.labels", ..., r"a scene of split 'train' needs labels"),
        ("scenes.1.id", "west", r"occur twice: west"),
        ("scenes.1.id", "../up", r"scenes\.1\.id"),
        ("scenes.1.id", "index.parquet", r"scenes\.1(.|\n)*the store of chips has a file of that name"),
        ("images.t33uuu.grid", "B99", r"B99 is none of"),
        ("images.t33uuu.sources.0.resampling", "linear", r"resampling(.|\n)*'bilinear'"),
        ("images.t33uuu.sources.0.scale", 0.0, r"scale: a scale of 0"),
        ("images.t33uuu.sources.0.scale", "big", r"scale: Input should be a valid number"),
        ("images.t33uuu.sources.0.unitt", "x", r"did you mean 'unit'\?"),
        ("labels.osm.feild", "x", r"did you mean 'field'\?"),
        ("labels.osm.kind", ..., r"labels\.osm: .*'kind'"),
        ("labels.osm.kind", "picture", r"labels\.osm: .*'vector', 'raster'"),
        ("labels.osm.default", "farm", r"need 'field', or 'default'"),
        ("labels.osm.width", {"unit": "m", "defualt": 3.0}, r"did you mean 'default'\?"),
        ("labels.osm.width", {"unit": "m", "default": 0.0}, r"greater than 0"),
        ("scenes.0.labels", ["osm", "none"], r"scene west names labels 'none'; the catalog has osm"),
        ("scenes.0.labels", ["osm", "osm"], r"scene west names labels twice: osm"),
        ("scenes.0.labels", [], r"scenes\.0\.labels(.|\n)*at least 1 item"),
        ("scenes.0.aoi", ["a", "a"], r"scene west names aoi twice: a"),
    ],
)
def test_what_is_wrong_in_the_catalog_is_named(root: Path, tmp_path: Path, key: str, value: Any, message: str) -> None:
    path = changed(root / "data" / "scenes.yaml", tmp_path / "scenes.yaml", key, value)
    with pytest.raises(CatalogError, match=message):
        read_catalog(path)


def test_labels_that_leave_no_pixel_to_those_after_them(root: Path, tmp_path: Path) -> None:
    path = changed(root / "data" / "scenes.yaml", tmp_path / "a.yaml", "labels.osm.background", "farm")
    path = changed(path, tmp_path / "b.yaml", "labels.map", {"kind": "raster", "path": "m.tif", "values": "ids"})
    scene = read_catalog(changed(path, tmp_path / "c.yaml", "scenes.0.labels", ["map", "osm"]))[0]
    assert [source.kind for source in scene.labels] == ["raster", "vector"]
    assert {"m.tif", "data/raw/landuse/osm.gpkg", "data/aoi/train.geojson"} <= set(scene.files())
    with pytest.raises(CatalogError, match=r"scene west: labels 'osm' give a class to all pixels(.|\n)*name them last"):
        read_catalog(changed(path, tmp_path / "d.yaml", "scenes.0.labels", ["osm", "map"]))


def test_one_image_serves_several_scenes(root: Path) -> None:
    scenes = read_catalog(root / "data" / "scenes.yaml")
    assert [scene.split for scene in scenes] == ["train", "validation", "test", "predict"]
    assert len({id(scene.image) for scene in scenes}) == 1


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [
        ("chip", "least_valid", "min_valid_fraction"),
        ("chip", "least_targets", "min_targets"),
        ("baseline", "least_leaf", "min_samples_leaf"),
        ("train", "clip", "gradient_clip_norm"),
        ("train", "average", "ema_decay"),
        ("train.augment", "turns", "flip_rotate"),
        ("predict.layers", "least_pixels", "min_pixels"),
        ("predict.layers", "largest_hole", "max_hole_pixels"),
    ],
)
def test_an_old_name_of_a_key_is_an_error_that_names_the_new_one(
    root: Path, tmp_path: Path, key: str, old: str, new: str
) -> None:
    content = YAML(typ="safe").load(root / "params.yaml")
    section = content
    for part in key.split("."):
        section = section[part]
    section[old] = section.pop(new, 1)
    with pytest.raises(ParamsError, match=f"'{old}' is called '{new}' now"):
        check_params(content, tmp_path / "params.yaml")


def test_an_old_name_of_a_kind_is_an_error_that_names_the_new_one(root: Path, tmp_path: Path) -> None:
    content = YAML(typ="safe").load(root / "params.yaml")
    content["model"]["kind"] = "network"
    with pytest.raises(ParamsError, match="the kind 'network' is called 'segmenter' now"):
        check_params(content, tmp_path / "params.yaml")
