"""A scene goes to a GPU in strips, and only what is decided comes back; without a GPU."""

from math import ceil
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from quadrat.geo.grids.windows import Window, cover
from quadrat.models.common.torch_predictor import TorchPredictor
from quadrat.models.training.neural import build
from quadrat.prediction import on_device
from quadrat.scenes.scene import OpenScene
from quadrat.tasks.common.calibration import PERCENTS, Calibration
from quadrat.tasks.common.parts import layers_of
from quadrat.tasks.pixel_regression.section import RegressionLayers
from tests.fake_gpu import Crossings, FakeGpu
from tests.models import test_steps
from tests.prediction.test_on_device import Held
from tests.prediction.test_sliding_window import predict

SIDE, STRIDE = 32, 16
CALIBRATION = Calibration(temperatures=(1.5,), exclusive=True, least=((0.3,) * PERCENTS,) * 3)
LAYERS = {
    "labels": predict().layers,
    "polygons": predict(polygons="areas.parquet").layers,
    "all": predict(scores=True, uncertainty="entropy", confidence=True, conformal=0.1).layers,
    "margin": predict(uncertainty="margin").layers,
    "values": RegressionLayers(kind="pixel_regression"),
}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    """Return a GPU, where ``on_device`` sends everything."""
    made = FakeGpu()
    monkeypatch.setattr(on_device, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(on_device, "sent", lambda held: held.to("cuda"))
    monkeypatch.setattr(on_device, "on_device", lambda pixels: made.there(torch.from_numpy(pixels)))
    monkeypatch.setattr(on_device, "Upload", made.upload)
    monkeypatch.setattr(on_device, "ahead", lambda items, depth: items)  # noqa: ARG005 (fake tensors know one thread)
    return made


@pytest.mark.parametrize("asked", LAYERS)
@pytest.mark.parametrize("calibration", [None, CALIBRATION])
def test_a_scene_stays_on_the_gpu(
    gpu: FakeGpu, asked: str, calibration: Calibration | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, task, _, about, _ = test_steps.KINDS["regression" if asked == "values" else "unet"]()
    run = TorchPredictor(build(model, task, about, 0).eval())
    gpu.moved(run._network)
    decisions = layers_of(task, calibration if asked != "values" else None).decisions(
        LAYERS[asked], Window(0, 0, 90, 70)
    )
    assert decisions is not None
    back: list[dict[str, Tensor]] = []

    def noted(held: dict[str, Tensor]) -> Any:
        back.append(held)
        return dict

    monkeypatch.setattr(on_device, "fetched", noted)
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 900, (len(about.bands), 90, 70)).astype(np.uint16)
    raster: Any = Held(pixels, generator.random((90, 70)) < 0.9, 20)
    scene = OpenScene("s", "predict", raster, None, None)
    windows = cover(scene.area, SIDE, STRIDE, 0)
    with gpu, Crossings() as crossings:
        rows = [
            row
            for row, _ in on_device.decided(
                scene, run, decisions, on_device.Plan(windows, scene.area, STRIDE, 5), windows
            )
        ]
    assert {values.device.type for some in back for values in some.values()} == {"cuda"}
    assert rows == sorted(set(rows))
    assert sum(some[next(iter(some))].shape[-2] for some in back) == 90
    assert set(crossings.seen) == {"aten._to_copy.default"}  # the places of windows that are cut together
    assert len(crossings.seen) <= ceil(len(windows) / 5) + ceil(90 / 20)
