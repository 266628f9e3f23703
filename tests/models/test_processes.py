"""Two processes of gloo train as one does, and end together; what they leave, any number of them goes on from."""

import multiprocessing
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch.distributed
from numpy.typing import NDArray

from quadrat.errors import WorkerError
from quadrat.models import Fitted, Recipe, Segmenter, Train
from quadrat.models.training import processes
from quadrat.models.training.ranks import Rank
from quadrat.runtime.parallel import Outcome
from tests.models import test_network

DECODER = {"decoder_channels": [16, 8, 8], "decoder_use_norm": False}
NETWORK = Segmenter.model_validate(
    {**test_network.SMALL, "encoder": "test_convnext", "architecture": "unet", "depth": 3, "decoder": DECODER}
)
"""No batch norm in it, which processes share on GPUs alone, and no dropout, which each draws for itself."""

BATCH, EPOCHS = 5, 4


class Deadly(test_network.Memory):
    """Chips whose reading kills the second of two processes in its third epoch."""

    reads = 0

    def read(self, indices: NDArray[np.intp]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        self.reads += 1
        if self.reads == 1 + 2 * (len(self) // BATCH) + 1 and os.environ.get("RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(indices)


def fit(checkpoint: Path, kind: type[test_network.Memory] = test_network.Memory, watch: Any = None) -> Fitted:
    train = Train.model_validate({**test_network.TRAIN, "weight_decay": 0})
    recipe = Recipe(1, 0.01, EPOCHS, BATCH, train, *([watch] if watch else []))
    chips = kind(11, 0), test_network.Memory(5, 1)
    return NETWORK.fit(*chips, test_network.TASK, test_network.inputs(), recipe, checkpoint)


@pytest.mark.slow  # two processes load torch
def test_two_processes_end_together_have_learnt_as_one_does_and_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(tmp_path / "whole")
    seen: list[int] = []
    with monkeypatch.context() as patched:
        patched.setenv("QUADRAT_DEVICES", "2")
        with pytest.raises(WorkerError, match=r"got: process 2 of 2: SIGKILL(.|\n)*run it again"):
            fit(tmp_path / "killed", Deadly, lambda fitted: seen.append(len(fitted.history)))
    assert seen == [1, 2]
    assert not multiprocessing.active_children()
    resumed = fit(tmp_path / "killed")
    assert [row["epoch"] for row in resumed.history] == [0, 1, 2, 3]
    assert resumed.history != whole.history  # they were not of one process
    for row, other in zip(whole.history, resumed.history, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-5)
        assert row["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-5)
        assert row["validation_accuracy"] == pytest.approx(other["validation_accuracy"], abs=1e-3)


def test_one_process_starts_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(processes, "get_context", never)
    monkeypatch.setattr(torch.distributed, "init_process_group", never)
    monkeypatch.setenv("QUADRAT_DEVICES", "1")
    test_network.fit(tmp_path, epochs=1)


class Pipe:
    """Says what is given, and is closed then."""

    def __init__(self, *said: Any) -> None:
        self._said = [*said]

    def recv(self) -> Any:
        if not self._said:
            raise EOFError
        return self._said.pop(0)


def test_the_error_that_ended_all_is_told_and_not_that_others_missed_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = Outcome[Any](None, WorkerError("killed"))

    def told(*said: Any) -> Any:
        children: Any = [
            SimpleNamespace(rank=Rank(number, len(said)), pipe=pipe, outcome=lambda: killed)
            for number, pipe in enumerate(said)
        ]
        monkeypatch.setattr(processes, "wait", lambda pipes, _: pipes[:1])
        return processes._outcome(children, lambda _: None)

    missed = Outcome[Any](None, RuntimeError("connection closed by peer"))
    with pytest.raises(WorkerError):
        told(Pipe(missed), Pipe())
    with pytest.raises(ZeroDivisionError):
        told(Pipe(Fitted({}, {}, ()), Outcome[Any](None, ZeroDivisionError())), Pipe(missed))
    assert told(Pipe(Outcome("first")), Pipe(Outcome("second"))) == "first"
