"""Networks run by onnxruntime: what torch says of the same windows, for any type, size and number of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quadrat.models.common.onnx_graphs import ROUNDING, apart, swift
from quadrat.models.common.trainable import Normalised
from quadrat.models.training.neural import _by_torch, build
from tests.models.test_network import NETWORK, TASK, Memory, inputs


def weights(nodata: float | None = 0.0) -> Mapping[str, NDArray[Any]]:
    return {n: w.numpy() for n, w in build(NETWORK, TASK, inputs(nodata), seed=1).state_dict().items()}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return what becomes the numbers of windows that torch is given."""
    numbers: list[int] = []
    whole = Normalised.forward

    def forward(self: Normalised, raw: Tensor) -> dict[str, Tensor]:
        if not torch.jit.is_tracing() and raw.device.type != "meta":  # of which nothing is computed
            numbers.append(len(raw))
        return whole(self, raw)

    monkeypatch.setattr(Normalised, "forward", forward)
    return numbers


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [*((dtype, 0.0) for dtype in ("uint8", "int16", "uint16", "int32", "float32", "float64")), ("uint16", None)],
)
def test_it_says_what_torch_says(dtype: str, nodata: float | None, called: list[int]) -> None:
    served = NETWORK.served(weights(nodata), TASK, inputs(nodata))
    plain = NETWORK.restore(weights(nodata), TASK, inputs(nodata))
    pixels = np.clip(Memory(9, 7, 64).pixels, 0, np.iinfo(np.uint8).max if dtype == "uint8" else None).astype(dtype)
    pixels[0, :, :9] = 0
    for window in (pixels[:2], pixels, pixels[:, :, :32, :], pixels[:1, :, :32, :]):
        called.clear()
        found = served(window)
        assert set(called) <= {1, 2, 3}  # torch is asked for the first few alone
        expected = plain(window)
        assert found["scores"].dtype == np.float32
        np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)


def test_numbers_that_are_no_values_count_as_nodata() -> None:
    pixels = Memory(2, 7).pixels.astype(np.float32)
    pixels[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    expected = NETWORK.restore(weights(), TASK, inputs())(pixels)
    assert apart(expected, NETWORK.served(weights(), TASK, inputs())(pixels)) <= ROUNDING


def test_windows_that_came_together_change_nothing() -> None:
    served, pixels = NETWORK.served(weights(), TASK, inputs()), Memory(7, 3, 64).pixels
    together = served(pixels)["scores"]
    for some in (1, 2, 5):
        apart_ = [served(pixels[start : start + some])["scores"] for start in range(0, 7, some)]
        np.testing.assert_array_equal(np.concatenate(apart_), together)


class Odd(nn.Module):
    """Does what a traced graph gets wrong: it looks at the values, or at how many windows there are."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, normalised: Tensor) -> Tensor:
        if self.how == "values":
            return normalised if float(normalised.sum()) < 0 else -normalised
        if self.how == "number":
            return normalised * len([*normalised])
        return torch.special.modified_bessel_i0(normalised)  # nothing of ONNX


@pytest.mark.parametrize("how", ["values", "number", "unknown"])
def test_what_no_graph_can_say_is_run_by_torch(how: str) -> None:
    network = Normalised(Odd(how), inputs(), TASK).eval()  # type: ignore[arg-type]  # a task with outputs by the px
    plain = _by_torch(network)
    pixels = np.stack([np.full((3, 32, 32), value, np.uint16) for value in (500, 1600, 1700)])  # little, then much
    np.testing.assert_array_equal(swift(network, plain)(pixels)["scores"], plain(pixels)["scores"])


def test_it_is_fit_for_use_after_the_export() -> None:
    network = build(NETWORK, TASK, inputs(), seed=1).eval()
    swift(network, _by_torch(network))(Memory(2, 1).pixels)
    assert not any(module.training for module in network.modules())


def test_where_torch_is_to_compile_torch_runs_it(monkeypatch: pytest.MonkeyPatch, called: list[int]) -> None:
    monkeypatch.setenv("QUADRAT_COMPILE", "1")
    monkeypatch.setattr(nn.Module, "compile", lambda _: None)
    served = NETWORK.served(weights(), TASK, inputs())
    served(Memory(5, 1).pixels)
    assert called == [5]
