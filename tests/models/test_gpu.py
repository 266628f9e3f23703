"""On a GPU networks learn in every precision as on a processor, and a step waits for nothing."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from quadrat.models.common.devices import PRECISIONS
from quadrat.models.training.batches import Batches, Order, uploading
from tests.models import test_fitting, test_network, test_steps

pytestmark = pytest.mark.gpu


@pytest.fixture
def strict() -> Iterator[None]:
    """Compute as ``fit`` does, and let whatever waits for the GPU fail."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.cuda.set_sync_debug_mode("default")
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", test_fitting.KINDS)
def test_every_network_learns_in_every_precision(
    kind: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_fitting.choose(precision, monkeypatch)
    fitted = test_fitting.KINDS[kind](tmp_path)
    assert np.isfinite(fitted.history[0]["train_loss"])
    assert np.isfinite(fitted.history[0]["validation_loss"])
    assert all(np.isfinite(values).all() for name, values in fitted.weights.items() if name != "nodata")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", test_steps.KINDS)
@pytest.mark.usefixtures("strict")
def test_a_step_waits_for_nothing(kind: str, precision: str) -> None:
    made, batch = test_steps.learner(kind)
    made = made.to("cuda")
    made.on_train_epoch_start()
    raw, target = batch[0].cuda(), {name: values.cuda() for name, values in batch[1].items()}
    optimizer = torch.optim.AdamW(made.network.parameters(), fused=True)
    scaler = torch.amp.GradScaler("cuda", enabled=precision == "fp16")
    half = torch.bfloat16 if precision == "bf16" else torch.float16

    def step() -> None:
        with torch.autocast("cuda", half, enabled=precision != "fp32"):
            loss = made.training_step((raw, target), 0)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(made.network.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        made.on_train_batch_end()

    step()  # what is set up once may wait
    torch.cuda.set_sync_debug_mode("error")
    for _ in range(3):
        step()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_killed_fit_goes_on_and_ends_as_if_nothing_had_been(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_fitting.test_a_fit_that_was_ended_goes_on_and_ends_as_if_nothing_had_been(precision, tmp_path, monkeypatch)


def test_batches_arrive_as_they_are_read() -> None:
    chips, order = test_network.Memory(64, 0, 64), Order(64, 8, 1, lambda: 0)
    for _ in range(3):
        for indices, (pixels, target) in zip(order, Batches(chips, order, 4, uploading()), strict=True):
            assert pixels.is_cuda
            np.testing.assert_array_equal(pixels.cpu().numpy(), chips.pixels[indices])
            np.testing.assert_array_equal(target["classes"].cpu().numpy(), chips.classes[indices])


def test_a_compiled_fit_learns_as_an_eager_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eager = test_network.fit(tmp_path / "eager", epochs=1)
    monkeypatch.setenv("QUADRAT_COMPILE", "1")
    compiled = test_network.fit(tmp_path / "compiled", epochs=1)
    assert compiled.history[0]["train_loss"] == pytest.approx(eager.history[0]["train_loss"], rel=0.05)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_learn_as_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With batch norm, and without dropout."""
    monkeypatch.setenv("QUADRAT_PRECISION", "fp32")
    one = test_fitting.dense(tmp_path / "one", architecture="unet")
    monkeypatch.setenv("QUADRAT_DEVICES", "2")
    two = test_fitting.dense(tmp_path / "two", architecture="unet")
    assert two.history[0]["train_loss"] == pytest.approx(one.history[0]["train_loss"], rel=1e-3)
    assert two.history[0]["validation_loss"] == pytest.approx(one.history[0]["validation_loss"], rel=0.01)
