"""A project on a GPU: each stage from predict on gives what it gives without one, but for half precision's rounding."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch

from quadrat.models import Predictor
from quadrat.models.common.devices import scenes_at_once
from quadrat.models.common.model import DevicePredictor
from quadrat.models.model_folder import read_model
from quadrat.models.training.neural import loaded
from quadrat.prediction.sliding_window import predict_scene
from quadrat.runtime.parallel import Threads
from quadrat.scenes.catalog import read_catalog
from quadrat.serving.apply import Plan, apply, verify
from quadrat.serving.new_images import Reading
from tests.bundling import NETWORK, SECTIONS, TASK, packed, prepared
from tests.ground import BANDS, kept
from tests.stage_calls import evaluate, predict

pytestmark = pytest.mark.gpu

SURE = 0.02
"""Where the two largest scores are further apart, half precision changes no label."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with predictions that the GPU has made, of a network with random weights."""
    root = prepared(tmp_path_factory.mktemp("project"), NETWORK)
    about = {"task": TASK, "bands": BANDS, "baseline": None, "predict": SECTIONS["predict"]}
    how = {"batch": None, "executor": Threads(1), "pins": root / "pins.json", **kept(root, "prediction")}
    paths = {"model_folder": root / "model", "baseline_folder": root / "none", "predictions": root / "predictions"}
    predict(scenes=root / "scenes.yaml", **about, **paths, **how)
    return root


@pytest.fixture(scope="module")
def network(project: Path) -> Predictor:
    """Return the network as predict runs it."""
    archive = read_model(project / "model")
    return NETWORK.served(archive.weights, TASK, archive.card.inputs)


@pytest.fixture(scope="module")
def expected(project: Path) -> Path:
    """Return the layers of scene ``all``, in float32 by the processor."""
    archive = read_model(project / "model")
    body = loaded(NETWORK, archive.weights, TASK, archive.card.inputs)

    def plain(pixels: Any) -> Any:
        with torch.inference_mode():
            return {name: values.numpy() for name, values in body(torch.from_numpy(pixels)).items()}

    scene = next(one for one in read_catalog(project / "scenes.yaml") if one.id == "all")
    with replace(scene, labels=()).open(BANDS, TASK) as opened:
        predict_scene(opened, plain, TASK, SECTIONS["predict"], project / "expected", 4)
    return project / "expected"


def layer(folder: Path, name: str) -> np.ndarray:
    with rasterio.open(folder / f"{name}.tif") as file:
        return file.read()


def assert_alike(found: Path, expected: Path) -> None:
    """Assert that labels are the same where they are sure, and scores are near."""
    scores = layer(expected, "scores").astype(int)
    labels, other = layer(found, "labels")[0], layer(expected, "labels")[0]
    np.testing.assert_array_equal(labels == 255, other == 255)
    assert abs(layer(found, "scores").astype(int) - scores).max() <= 0.05 * 250
    second, largest = np.sort(scores, 0)[-2:]
    sure = largest - second > SURE * 250
    assert (labels == other)[sure].mean() > 0.998


def test_predict_decides_on_the_gpu_what_the_processor_decides(project: Path, expected: Path) -> None:
    assert_alike(project / "predictions" / "all", expected)


def test_predict_blends_on_the_gpu_as_on_the_processor(project: Path, network: Predictor, tmp_path: Path) -> None:
    assert isinstance(network, DevicePredictor)
    scene = next(one for one in read_catalog(project / "scenes.yaml") if one.id == "all")
    with replace(scene, labels=()).open(BANDS, TASK) as opened:
        predict_scene(opened, network.__call__, TASK, SECTIONS["predict"], tmp_path / "pasted", 4)
        predict_scene(opened, network, TASK, SECTIONS["predict"], tmp_path / "blended", 4)
    pasted, blended = (layer(tmp_path / way, "scores").astype(int) for way in ("pasted", "blended"))
    assert abs(pasted - blended).max() <= 1  # a step of the stored scores
    assert (layer(tmp_path / "pasted", "labels") == layer(tmp_path / "blended", "labels")).mean() > 0.999


def test_nothing_waits_for_the_gpu_between_two_batches(network: Predictor) -> None:
    assert isinstance(network, DevicePredictor)
    pixels = torch.zeros(2, len(BANDS), 64, 64, dtype=torch.uint16, device="cuda")
    network.tensors(pixels)  # what is set up once may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        network.tensors(pixels)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_batch_fits_the_gpu_and_several_scenes_are_under_way(network: Predictor) -> None:
    assert isinstance(network, DevicePredictor)
    assert 1 <= network.windows_at_once((len(BANDS), 256, 256), np.dtype("u2")) <= 32
    assert scenes_at_once() > 1


def test_eval_scores_what_the_gpu_predicted(project: Path, tmp_path: Path) -> None:
    tables = ("class_scores", "scene_scores", "confusion", "areas", "reliability")
    written = ("eval_metrics", "intervals", *tables, "pictures", "page")
    paths = {"predictions": project / "predictions", "table": project / "table", "pins": project / "pins.json"}
    about = {"scenes": project / "scenes.yaml", "seed": 1, "task": TASK, "baseline": None, "eval": SECTIONS["eval"]}
    evaluate(**about, **paths, **{name: tmp_path / name for name in written}, executor=Threads(1))
    assert (tmp_path / "eval_metrics").stat().st_size


def test_a_bundle_is_made_and_verified_beside_a_gpu(project: Path) -> None:
    verify(packed(project, NETWORK))


@pytest.mark.parametrize("runtime", ["torch", None])
def test_apply_gives_what_predict_gives(project: Path, tmp_path: Path, runtime: Any) -> None:
    bundle = packed(project, NETWORK, tmp_path / "bundle.zip")
    with rasterio.open(project / "image.tif") as file:
        about, pixels = file.profile, file.read()
    with rasterio.open(tmp_path / "new.tif", "w", **about) as file:
        file.write(pixels)
        file.descriptions = BANDS
    apply(bundle, [str(tmp_path / "new.tif")], tmp_path / "out", Reading(), Plan(runtime))
    found, theirs = (
        layer(folder, "scores").astype(int) for folder in (tmp_path / "out" / "new", project / "predictions" / "all")
    )
    assert abs(found - theirs).max() <= 1
