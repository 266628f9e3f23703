"""What others read of a bundle: STAC catalogs, Hugging Face's hub, and QGIS' plugin Deepness."""

import json
import zipfile
from pathlib import Path
from typing import Any

import jsonschema_rs
import onnxruntime
import pystac
import pytest
from ruamel.yaml import YAML
from shapely.geometry import shape
from typer.testing import CliRunner

from quadrat.bundle.front_matter import front_matter
from quadrat.bundle.loading import read_bundle
from quadrat.bundle.stac_item import MLM, slug, stac_item
from quadrat.chips.store import ground_of
from quadrat.cli import app
from quadrat.models.common.bundle_zip import write_bundle
from quadrat.models.model_folder import ModelCard
from tests.bundling import FOREST, packed, prepared
from tests.ground import cells, detection, regression

SCHEMAS = Path(__file__).parent / "schemas"
CORE = "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = prepared(tmp_path_factory.mktemp("item"), FOREST)
    packed(root, FOREST)
    return root


@pytest.fixture(scope="module")
def members(root: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(root / "bundle.zip") as file:
        return {name: file.read(name) for name in file.namelist()}


@pytest.fixture(scope="module")
def card(members: dict[str, bytes]) -> ModelCard:
    return ModelCard.model_validate_json(members["model.json"])


def stored(address: str) -> Any:
    """Return a schema by its address: of an extension, or of STAC itself as pystac has it."""
    *_, extension, version, name = address.partition("#")[0].split("/")
    path = SCHEMAS / f"{extension}-{version}.json"
    if "stac-extensions" not in address:
        folder = Path(pystac.__file__).parent / "validation/jsonschemas"
        path = folder / ("geojson" if "geojson.org" in address else "stac-spec/v1.1.0") / name
    return json.loads(path.read_text())


def check(item: dict[str, Any]) -> pystac.Item:
    """Check an Item against the schemas of STAC and of MLM, and return it."""
    jsonschema_rs.Draft7Validator(stored(MLM), retriever=stored).validate(item)
    jsonschema_rs.Draft7Validator(stored(CORE), retriever=stored).validate(item)
    return pystac.Item.from_dict(item)


def test_the_bundle_holds_a_valid_item(members: dict[str, bytes], root: Path) -> None:
    content = json.loads(members["stac.json"])
    item = check(content)
    assert item.id == "woods-and-lakes"
    assert all(asset.href.removeprefix("./") in members for asset in item.assets.values())
    assert item.bbox == list(ground_of(root / "chips", "train") or ())
    west, south, east, north = item.bbox
    assert 12 < west < east < 13 < south < north < 54
    about = item.properties
    assert [band["name"] for band in about["bands"]] == about["mlm:input"][0]["bands"] == ["B1", "B2", "B3"]
    assert about["mlm:tasks"] == ["semantic-segmentation"]
    (output,) = about["mlm:output"]
    assert output["result"] == {
        "shape": [-1, 3, -1, -1],
        "dim_order": ["batch", "class", "height", "width"],
        "data_type": "float32",
    }
    assert [one["description"] for one in output["classification:classes"]] == ["wood", "lake", "field"]


def test_the_schema_refuses_what_is_wrong(members: dict[str, bytes]) -> None:
    for name, value in (("mlm:tasks", ["guessing"]), ("mlm:input", None), ("bands", [])):
        item = json.loads(members["stac.json"])
        item["properties"][name] = value
        with pytest.raises(jsonschema_rs.ValidationError):
            check(item)


@pytest.mark.parametrize(
    "task",
    [cells("a", "b"), cells("a", multi_label=True), detection("car"), regression("height")],
    ids=lambda t: t.kind,
)
def test_items_of_all_tasks_are_valid(task: Any, card: ModelCard) -> None:
    bands = tuple(band.model_copy(update={"date": f"2020-0{n}-01"}) for n, band in enumerate(card.bands, 1))
    for ground in (None, (12.0, 50.0, 13.0, 51.0), (179.0, -18.0, -179.0, -16.0)):
        item = check(stac_item("Ü <b>", card.model_copy(update={"task": task, "bands": bands}), ground))
        assert item.properties["start_datetime"] == "2020-01-01T00:00:00Z"
        assert (item.geometry is None) == (ground is None)
    assert item.bbox == [179.0, -18.0, -179.0, -16.0]
    assert shape(item.geometry).area == pytest.approx(4)


def test_hugging_face_reads_the_head_of_the_readme(members: dict[str, bytes], card: ModelCard) -> None:
    _, head, text = members["README.md"].decode().split("---\n", 2)
    assert text.startswith("\n# Woods and lakes\n")
    content = YAML(typ="safe").load(head)
    assert content["pipeline_tag"] == "image-segmentation"
    assert "semantic-segmentation" in content["tags"]
    assert "model-index" not in content  # there is no score
    evaluated = {"Test": {"macro_f1": 0.5}, "overall": {"macro_f1": 0.5, "macro_iou": None, "support": 9}}
    head = front_matter("A: b", card, evaluated).split("---\n")[1]
    (index,) = YAML(typ="safe").load(head)["model-index"]
    assert index["name"] == slug("A: b") == "a-b"
    (result,) = index["results"]
    assert result["dataset"]["name"] == "test scenes"
    assert result["metrics"] == [{"type": "macro_f1", "value": 0.5}]


def test_earlier_bundles_have_no_item(members: dict[str, bytes], tmp_path: Path) -> None:
    earlier = {name: content for name, content in members.items() if name not in {"stac.json", "SHA256SUMS"}}
    write_bundle(tmp_path / "bundle.zip", earlier)
    assert read_bundle(tmp_path / "bundle.zip").card.task


def test_deepness_gets_a_graph_of_one_size(root: Path, tmp_path: Path) -> None:
    for options, side in (((), 64), (("--size", "96"), 96)):
        words = ["deepness", str(root / "bundle.zip"), str(tmp_path / "out.onnx"), *options]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        session = onnxruntime.InferenceSession(tmp_path / "out.onnx", providers=["CPUExecutionProvider"])
        assert session.get_inputs()[0].shape[1:] == [3, side, side]
        assert session.get_outputs()[0].shape[1:] == [3, side, side]
        about = session.get_modelmeta().custom_metadata_map
        assert (json.loads(about["model_type"]), json.loads(about["tile_size"])) == ("Segmentor", side)
