"""A run on the page with a map: what is shown is what lies in the workspace."""

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from starlette.testclient import TestClient

from quadrat.params import read_params, written
from quadrat.runtime.parallel import Threads
from quadrat.runtime.run import Paths
from quadrat.server.limits import Access
from quadrat.server.view.app import Shown, application
from quadrat.server.view.workspace import Workspace
from tests.browser import BROWSER, browser
from tests.bundling import FOREST, SECTIONS, TASK, packed, prepared
from tests.ground import BANDS, kept, write_world
from tests.project import ROOT
from tests.qgis.test_project import found as detected
from tests.server.test_page_in_browser import PIXELS, READY, press, running
from tests.stage_calls import predict

OPEN = Access(("testserver", "127.0.0.1"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace with a run, whose scores are made up."""
    root = prepared(tmp_path_factory.mktemp("viewed"), FOREST)
    with zipfile.ZipFile(packed(root, FOREST)) as file:
        (root / "params.yaml").write_bytes(file.read("params.yaml"))
    about = {"task": TASK, "bands": BANDS, "baseline": None, "predict": SECTIONS["predict"]}
    how = {"batch": 4, "executor": Threads(1), "pins": root / "pins.json", **kept(root, "prediction")}
    paths = {"model_folder": root / "model", "baseline_folder": root / "none", "predictions": root / "predictions"}
    predict(scenes=root / "scenes.yaml", **about, **paths, **how)
    (root / "eval.json").write_text(json.dumps({"overall": {"accuracy": 0.8126, "macro_f1": None, "support": 9}}))
    bounds = {"predictions": {"model": {"overall": {"accuracy": [0.7, 0.9]}}}}
    (root / "intervals.json").write_text(json.dumps(bounds))
    spoilt = root / "predictions/e/labels.tif"
    with rasterio.open(spoilt, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:  # so that something is wrong
        values = file.read(1)
        values[:40, 160:] = np.where(values[:40, 160:] == 255, 255, 2)
        file.write(values, 1)
    return root


def paths_of(root: Path) -> Paths:
    own = {"eval_metrics": root / "eval.json", "intervals": root / "intervals.json", "chips": root / "chips"}
    return Paths(predictions=root / "predictions", **own)


@pytest.fixture(scope="module")
def app(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = tmp_path_factory.mktemp("made")
    return application(Shown(Workspace(root / "params.yaml", read_params, made, paths_of(root))), OPEN)


@pytest.fixture(scope="module")
def client(app: Any) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


def picture(client: TestClient, address: str) -> np.ndarray:
    """Return red, green, blue and opacity (y, x, 4)."""
    response = client.get(address)
    assert response.status_code == 200, response.text
    return np.array(Image.open(io.BytesIO(response.content)).convert("RGBA"))


def test_scenes_and_layers_are_listed(client: TestClient) -> None:
    info = client.get("/info").json()
    assert [one["title"] for one in info["images"]] == ["e (test)", "m (validation)", "all (predict)", "w (train)"]
    layers = {one["id"]: one["layers"] for one in info["images"]}
    assert layers["e"] == layers["m"] == ["image", "prediction", "error", "labels"]
    assert (layers["all"], layers["w"]) == (["image", "prediction"], ["image", "labels"])
    assert {one["id"]: one["overlays"] for one in info["images"]}["w"] == ["aoi", "chips"]
    assert info["run"]["scores"] == [{"name": "accuracy", "value": 0.8126, "low": 0.7, "high": 0.9}]


def test_a_layer_shows_its_file_pixel_for_pixel(client: TestClient, root: Path) -> None:
    shown = picture(client, "/preview.png?image=e&layer=prediction&max_size=2048")
    with rasterio.open(root / "predictions/e/labels.tif") as file:
        ids = file.read(1)
    np.testing.assert_array_equal(shown[..., 3] > 0, ids != 255)
    for number, one in enumerate(TASK.classes):
        assert (shown[ids == number][:, :3] == one.rgb).all()
    error, labels = (picture(client, f"/preview.png?image=e&layer={name}") for name in ("error", "labels"))
    same = (labels == shown).all(-1)[:, 160:]
    wrong = (error[:, 160:, :3] == (0xD6, 0x14, 0x78)).all(-1)
    np.testing.assert_array_equal(wrong, ~same)
    assert wrong[:40].any()
    assert error[:, :160, 3].max() == 0  # outside of the area of interest


def test_tiles_lie_where_the_scene_is(client: TestClient) -> None:
    image = client.get("/info").json()["images"][0]
    west, south, east, north = image["bounds"]
    zoom, lon, lat = image["maxzoom"], (west + east) / 2, np.radians((south + north) / 2)
    x = int((lon + 180) / 360 * 2**zoom)
    y = int((1 - np.log(np.tan(lat) + 1 / np.cos(lat)) / np.pi) / 2 * 2**zoom)
    for layer in ("image", "prediction", "error"):
        tile = picture(client, f"/tiles/WebMercatorQuad/{zoom}/{x}/{y}.png?image=e&layer={layer}")
        assert tile.shape == (256, 256, 4)
        assert tile[..., 3].any()
    assert client.get(f"/tiles/WebMercatorQuad/{zoom}/0/0.png?image=e&layer=error").status_code == 204
    assert picture(client, "/tiles/WebMercatorQuad/0/0/0.png?image=e&layer=error").shape == (256, 256, 4)


def test_a_point_tells_prediction_and_label(client: TestClient, root: Path) -> None:
    west, south, east, north = client.get("/info").json()["images"][0]["bounds"]
    said = client.get(f"/point/{(west + east) / 2},{(south + north) / 2}?image=e").json()
    row, col = said["pixel"]
    with rasterio.open(root / "predictions/e/labels.tif") as file:
        assert said["class"] == TASK.names[file.read(1)[row, col]]
    assert said["label"] in TASK.names
    assert client.get("/point/0,0?image=e").status_code == 404


def test_the_worst_places_come_first(client: TestClient) -> None:
    places = client.get("/worst").json()["worst"]
    wrong = [one["wrong"] for one in places]
    assert wrong == sorted(wrong, reverse=True)
    assert places[0]["scene"] == "e"  # it was spoilt
    west, south, east, north = client.get("/info").json()["images"][0]["bounds"]
    _, lat, lon = places[0]["at"]
    assert west - 0.01 < lon < east + 0.01
    assert south < lat < north


def test_what_is_not_there_is_not_found(client: TestClient) -> None:
    for address in (
        "/preview.png?image=none&layer=labels",
        "/preview.png?image=e&layer=baseline",
        "/features?image=e&layer=chips",
        "/features?image=../e&layer=aoi",
        "/page/../app.py",
    ):
        assert client.get(address).status_code == 404, address
    assert client.get("/info", headers={"host": "evil.example.org"}).status_code == 400


def test_a_run_that_goes_on_is_shown_anew(root: Path, tmp_path: Path) -> None:
    predictions = shutil.copytree(root / "predictions", tmp_path / "predictions")
    paths = Paths(predictions=predictions, eval_metrics=tmp_path / "eval.json", intervals=tmp_path / "none.json")
    with TestClient(
        application(Shown(Workspace(root / "params.yaml", read_params, tmp_path / "made", paths)), OPEN)
    ) as client:
        before = client.get("/stamp").json()["stamp"]
        assert client.get("/info").json()["run"]["scores"] == []
        assert picture(client, "/preview.png?image=e&layer=error")[..., 3].any()
        assert client.get("/stamp").json()["stamp"] == before
        shutil.rmtree(predictions / "e")
        assert client.get("/stamp").json()["stamp"] != before
        assert client.get("/preview.png?image=e&layer=error").status_code == 404
        assert client.get("/info").json()["images"][0]["layers"] == ["image", "labels"]
        (tmp_path / "eval.json").write_text('{"overall": {"accuracy": 0.5}}')
        assert client.get("/info").json()["run"]["scores"][0]["low"] is None


def test_objects_are_shown_as_shapes(tmp_path: Path) -> None:
    params, paths = detected(tmp_path, write_world(tmp_path))
    example = read_params(ROOT / "examples/trees/params.yaml")
    own = {name: getattr(params, name) for name in ("scenes", "task", "bands", "predict", "eval")}
    (tmp_path / "params.yaml").write_bytes(written(example.model_copy(update=own)))
    workspace = Workspace(tmp_path / "params.yaml", read_params, tmp_path / "made", paths)
    with TestClient(application(Shown(workspace), OPEN)) as client:
        info = client.get("/info").json()
        assert {one["name"]: one["kind"] for one in info["layers"]} == {
            "image": "image",
            **dict.fromkeys(("prediction", "error", "labels"), "features"),
        }
        listed = {n: client.get(f"/features?image=e&layer={n}").json()["features"] for n in ("prediction", "error")}
        assert sorted(one["properties"]["score"] for one in listed["prediction"]) == [0.8, 0.9]
        kinds = sorted(one["properties"]["kind"] for one in listed["error"])
        assert kinds == ["missed", "missed", "right", "wrong"]
        assert client.get("/worst").json()["worst"][0]["wrong"] >= 1


def test_two_runs_are_shown_side_by_side(root: Path, tmp_path: Path) -> None:
    other = replace(paths_of(root), predictions=shutil.copytree(root / "predictions", tmp_path / "predictions"))
    with rasterio.open(other.predictions / "e/labels.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.write(np.where(file.read(1) == 255, 255, 0).astype(np.uint8), 1)
    (tmp_path / "eval.json").write_text('{"overall": {"accuracy": 0.5}}')
    other = replace(other, eval_metrics=tmp_path / "eval.json")
    runs = [
        Workspace(root / "params.yaml", read_params, tmp_path / str(n), paths)
        for n, paths in enumerate((paths_of(root), other))
    ]
    with TestClient(application(Shown(*runs, name="before"), OPEN)) as client:
        info = client.get("/info").json()
        assert info["images"][0]["layers"][-2:] == ["beside prediction", "beside error"]
        assert info["layers"][-1]["title"] == "error of before"
        assert info["run"]["scores"][0]["other"] == 0.5
        ours, theirs = (picture(client, f"/preview.png?image=e&layer={n}prediction") for n in ("", "beside "))
        assert {tuple(color[:3]) for color in theirs[theirs[..., 3] > 0]} == {TASK.classes[0].rgb}
        assert (ours != theirs).any()


@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")
def test_the_page_shows_the_run(app: Any, tmp_path: Path) -> None:
    with running(app) as address, browser(tmp_path) as page:
        page.size(1200, 800)
        page.open(address)
        page.wait(READY)
        assert page.run("document.querySelector('#scores').textContent").endswith("accuracy0.8130.70 to 0.90")
        assert page.run("document.querySelector('#sending').hidden && document.querySelector('#boxing').hidden")
        page.wait("document.querySelectorAll('path.leaflet-interactive, .leaflet-overlay-pane path').length === 1")
        page.wait("document.querySelectorAll('#worst button').length > 0")
        page.run("document.querySelector('#image').value = 'all'")
        page.run("document.querySelector('#image').dispatchEvent(new Event('change'))")
        page.wait(READY)
        page.run(press("#worst button"))
        page.wait("location.hash.includes('image=e') && location.hash.includes('layer=error')")
        names = page.run("[...document.querySelectorAll('#legend label')].map(one => one.textContent)")
        assert names == ["right", "wrong", "not predicted"]
        page.wait(f"{READY.strip()} && {PIXELS.strip()} > 0")
        assert page.errors == []
        assert [one for one in page.asked if one.startswith("http") and not one.startswith(address)] == []
