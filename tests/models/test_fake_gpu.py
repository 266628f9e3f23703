"""No step mixes what lies on a GPU with what doesn't, copies between them, or waits for a value; without a GPU."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from quadrat.models.training.augment import noise, symmetries
from tests.fake_gpu import Crossings, FakeGpu
from tests.models import test_steps


@pytest.mark.parametrize("kind", test_steps.KINDS)
def test_a_step_stays_on_the_gpu(kind: str) -> None:
    gpu = FakeGpu()
    made, (raw, target) = test_steps.learner(kind)
    draws = torch.Generator()
    turns, jitter = symmetries(len(raw), draws), noise(*raw.shape[:2], draws)
    given = gpu.there(raw), gpu.all_there(target), gpu.there(turns), gpu.there(jitter)
    work = gpu.moved(made).augmented_loss
    with gpu, Crossings() as crossings:
        loss = work(*given)
    assert crossings.seen == []
    assert loss.device.type == "cuda"


@pytest.mark.parametrize("kind", test_steps.KINDS)
def test_validation_stays_on_the_gpu(kind: str) -> None:
    gpu = FakeGpu()
    made, (raw, target) = test_steps.learner(kind)
    given, loss = (gpu.there(raw), gpu.all_there(target)), made._recipe.train.loss
    network = gpu.moved(made).average.module.eval()
    with gpu, torch.inference_mode(), Crossings() as crossings:
        said, _ = network.examined(*given, loss, made._class_weights)
        made._scoring.tally(given[1], said)
    assert crossings.seen == []
    assert {values.device.type for values in said.values()} == {"cuda"}


@pytest.mark.parametrize(
    ("work", "error"),
    [
        (lambda there, here: there + here, RuntimeError),
        (lambda there, _: there[there > 1], DynamicOutputShapeException),
        (lambda there, _: there.sum().item(), DataDependentOutputException),
    ],
)
def test_what_mixes_or_waits_fails(work: Callable[[Tensor, Tensor], Any], error: type[Exception]) -> None:
    gpu = FakeGpu()
    with gpu, pytest.raises(error):
        work(gpu.there(torch.zeros(3)), torch.zeros(3))


def test_what_is_copied_is_noted() -> None:
    gpu = FakeGpu()
    there = gpu.there(torch.zeros(3))
    for work in (there.cpu, lambda: torch.zeros(3).to(there.device), lambda: torch.zeros(3).copy_(there)):
        with gpu, Crossings() as crossings:
            work()
        assert crossings.seen
