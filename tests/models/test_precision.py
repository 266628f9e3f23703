"""Networks as a GPU runs them: in half precision labels are the same but for ties; outputs may stay there."""

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from quadrat.bundle.loading import in_float32
from quadrat.models.common import devices
from quadrat.models.common.devices import device, on_device
from quadrat.models.common.model import DevicePredictor
from quadrat.models.common.torch_predictor import PIXELS, TorchPredictor
from quadrat.models.training.neural import loaded
from tests.models.test_network import NETWORK, TASK, Memory, fit, inputs


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a network that has learnt a little."""
    return loaded(NETWORK, fit(tmp_path_factory.mktemp("fit"), epochs=12).weights, TASK, inputs())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_changes_hardly_any_label(network: Any, dtype: torch.dtype) -> None:
    pixels, _ = Memory(16, 5).read(np.arange(16))
    raw = torch.from_numpy(pixels)
    with torch.inference_mode():
        plain = network(raw)["scores"]
        with torch.autocast("cpu", dtype):
            half = network(raw)["scores"]
    assert half.dtype == torch.float32
    assert not torch.equal(half, plain)
    assert (half.argmax(1) == plain.argmax(1)).float().mean() >= 0.998


def test_a_sample_is_run_in_float32_where_a_gpu_computes_in_half_precision(
    network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, _ = Memory(4, 5).read(np.arange(4))
    plain = TorchPredictor(deepcopy(network))(pixels)["scores"]
    real = torch.autocast
    monkeypatch.setattr(devices, "device", lambda: SimpleNamespace(type="cuda"))
    monkeypatch.setattr(torch, "autocast", lambda _, dtype: real("cpu", dtype))
    monkeypatch.setenv("QUADRAT_PRECISION", "bf16")
    raw, run = torch.from_numpy(pixels), TorchPredictor(deepcopy(network))
    for _ in range(2):
        assert (run.tensors(raw)["scores"].numpy() != plain).any()
        before = torch.backends.cudnn.allow_tf32
        with in_float32():
            assert not torch.backends.cudnn.allow_tf32
            np.testing.assert_array_equal(run.tensors(raw)["scores"].numpy(), plain)
        assert torch.backends.cudnn.allow_tf32 == before


def test_outputs_of_tensors_are_those_of_arrays(network: Any) -> None:
    pixels, _ = Memory(2, 5).read(np.arange(2))
    run = TorchPredictor(deepcopy(network).to(device()))
    assert isinstance(run, DevicePredictor)
    for name, values in run(pixels).items():
        found = run.tensors(on_device(pixels))[name]
        assert found.device.type == device().type
        np.testing.assert_array_equal(found.cpu().numpy(), values)


def test_a_batch_has_about_as_many_pixels_whatever_the_windows(network: Any) -> None:
    run = TorchPredictor(deepcopy(network).to(device()))
    found = [run.windows_at_once((3, size, size), np.dtype("u2")) for size in (64, 256, 512, 4096)]
    assert found == [PIXELS // 64**2, 32, 8, 1]


def test_without_a_gpu_a_network_is_served_as_arrays(tmp_path: Path) -> None:
    weights = fit(tmp_path, epochs=1).weights
    for make in (NETWORK.restore, NETWORK.served):
        assert not isinstance(make(weights, TASK, inputs()), DevicePredictor) or torch.cuda.is_available()
