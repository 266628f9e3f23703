"""On several devices a loss, and its gradient, are those of the whole batch, and each chip is taken once."""

import copy
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from quadrat.errors import ModelError
from quadrat.models.training import fitting, processes, ranks
from quadrat.models.training.batches import Batches, Order
from quadrat.models.training.learner import Learner
from quadrat.models.training.ranks import Rank
from quadrat.tasks.common import together
from tests.models import boxes, test_network, test_steps
from tests.models.test_classifier import CLASSIFIER, FOREST
from tests.models.test_detector import detector

DEVICES = 3
"""So many threads stand for as many devices."""

KINDS = {**test_steps.KINDS, "faster_rcnn": lambda: test_steps.objects("faster_rcnn")}


class Meeting:
    """Sums up what threads bring, as torch's group of processes does."""

    def __init__(self) -> None:
        self._barrier, self._brought = threading.Barrier(DEVICES, timeout=60), dict[int, Tensor]()

    def summed(self, values: Tensor) -> Tensor:
        self._brought[threading.get_ident()] = values.detach()
        self._barrier.wait()
        found = torch.stack([*self._brought.values()]).sum(0)
        self._barrier.wait()
        return found


def gradients(made: Learner, raw: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, list[Tensor | None]]:
    loss = made.augmented_loss(raw, target, None, torch.zeros(2, *raw.shape[:2]))
    weights = [weight for weight in made.network.parameters() if weight.requires_grad]
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return loss.detach(), [*found]


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_those_of_the_whole_batch(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(test_steps.KINDS, kind, KINDS[kind])
    made, (raw, target) = test_steps.learner(kind)
    made.network.eval()  # batch norm has nothing to share then
    if kind in {"unet", "fpn"}:
        target["classes"][0] = 255  # a device without labels
        target["classes"][1, 4:] = 255
    loss, wanted = gradients(made, raw, target)
    monkeypatch.setattr(together, "_summed", Meeting().summed)
    copies = [copy.deepcopy(made) for _ in range(DEVICES)]

    def part(number: int) -> Any:
        own = Rank(number, DEVICES).part(len(raw))
        return gradients(copies[number], raw[own], {name: values[own] for name, values in target.items()})

    with together.together(DEVICES), ThreadPoolExecutor(DEVICES) as pool:
        found = list(pool.map(part, range(DEVICES)))
    assert [one for one, _ in found] == [pytest.approx(float(loss), rel=1e-5)] * DEVICES
    for expected, *given in zip(wanted, *(each for _, each in found), strict=True):
        assert all((one is None) == (expected is None) for one in given)
        if expected is not None:
            mean = torch.stack(given).mean(0)  # as DDP takes it
            assert (mean - expected).norm() <= 1e-4 * expected.norm() + 1e-6


def test_alone_nothing_is_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    some = torch.ones(2, requires_grad=True)
    assert together.total(some) is some
    monkeypatch.setattr(together, "_summed", lambda values: 3 * values)
    with together.together(3):
        assert together.total(some).tolist() == [3, 3]
        with torch.no_grad():
            assert together.total(some) is some


def orders(monkeypatch: pytest.MonkeyPatch, devices: int, make: Callable[[], Order]) -> list[list[list[int]]]:
    """Return each device's batches."""
    found = []
    for number in range(devices):
        monkeypatch.setattr(ranks, "_current", Rank(number, devices))
        found.append([batch.tolist() for batch in make()])
        assert len(make()) == len(found[-1])
    monkeypatch.setattr(ranks, "_current", Rank())
    return found


@pytest.mark.parametrize("devices", [2, 3, 4])
def test_each_chip_is_taken_once(devices: int, monkeypatch: pytest.MonkeyPatch) -> None:
    learn, check = (lambda: Order(23, 5, 7, lambda: 1)), (lambda: Order(23, 5, None, lambda: 0))
    parts = orders(monkeypatch, devices, learn)
    assert [[*chain(*some)] for some in zip(*parts, strict=True)] == [batch.tolist() for batch in learn()]
    turns = orders(monkeypatch, devices, check)
    assert [batch for some in zip(*turns, strict=True) for batch in some if batch] == [b.tolist() for b in check()]


def test_where_no_batch_is_left_nothing_is_read_or_counted() -> None:
    class Never:
        def read(self, _: Any) -> Any:
            raise AssertionError

    (batch,) = Batches(Never(), [np.arange(0)], 1, lambda batch: lambda: batch)  # type: ignore[arg-type]
    made, _ = test_steps.learner("classifier")
    made.on_validation_epoch_start()
    made.validation_step(batch, 0)
    assert made._tally is None


def test_batch_norm_sees_the_whole_batch_on_gpus_and_predicts_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    made, (raw, _) = test_steps.learner("unet")
    network = made.network.eval()
    network.body.extra = BatchNormAct2d(3)  # type: ignore[union-attr] # torch's layers with an activation in them
    before, names = network(raw)["scores"], list(network.state_dict())
    monkeypatch.setattr(ranks, "_current", Rank(0, 2))
    monkeypatch.setattr(fitting, "device", lambda: torch.device("cuda"))
    shared = fitting._synchronised(network)
    layers = [each for each in shared.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    assert layers
    assert all(isinstance(each, nn.SyncBatchNorm) for each in layers)
    assert list(shared.state_dict()) == names
    assert torch.equal(shared(raw)["scores"], before)
    assert isinstance(shared.body.extra.act, nn.ReLU)  # type: ignore[union-attr]


def test_a_batch_has_a_chip_for_each_device(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUADRAT_DEVICES", "5")
    with pytest.raises(ModelError, match=r"fewer chips than there are devices(.|\n)*at least 5 chips(.|\n)*got: 4"):
        test_network.fit(tmp_path)
    chips, few = boxes.Memory(3, 0), boxes.Memory(2, 1)
    with pytest.raises(ModelError, match="got: 3"):
        detector("fcos").fit(chips, few, boxes.Boxes(), boxes.inputs(), boxes.recipe(1), tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["0", "-1", "two", "²"])
def test_a_number_of_devices_that_is_none_is_told(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUADRAT_DEVICES", given)
    with pytest.raises(ModelError, match="no such number of devices"):
        processes.asked()


def test_too_few_gpus_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quadrat.models.common.devices.device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    ranks.check_devices(2)
    with pytest.raises(ModelError, match=r"expected: 4\n  got: 2"):
        ranks.check_devices(4)


@pytest.mark.parametrize(("seen", "own"), [(None, "1"), ("2,5", "5"), ("GPU-a,GPU-b", "GPU-b")])
def test_a_process_sees_its_own_gpu_alone(seen: str | None, own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> bool:
        raise AssertionError("CUDA keeps what it sees when it is asked")

    monkeypatch.setattr(torch.cuda, "is_available", never)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES") if seen is None else monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    ranks.take_device(Rank(3, 4, 1, 2))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == own
    with pytest.raises(ModelError, match=r"expected: 3\n  got: 2"):
        ranks.take_device(Rank(2, 3, 2, 3))


def test_models_without_a_network_are_fitted_by_one_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    processes.warn_of_one(FOREST)
    monkeypatch.setenv("QUADRAT_DEVICES", "2")
    processes.warn_of_one(CLASSIFIER)
    assert capsys.readouterr().err == ""
    processes.warn_of_one(FOREST)
    assert "forest is fitted by one process" in capsys.readouterr().err
