"""A step of learning asks nothing of the device that the processor would wait for, and is one graph."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from quadrat.models import Recipe, Segmenter, Train
from quadrat.models.training.learner import Learner
from quadrat.models.training.neural import build
from quadrat.tasks.common.parts import scoring_of
from tests.ground import cells, regression, segmentation
from tests.models import boxes, test_classifier, test_network
from tests.models.test_detector import detector

aten = torch.ops.aten
WAITS = {
    aten._local_scalar_dense: "a value is asked for",
    aten.nonzero: "how much there is depends on values",
    aten.masked_select: "how much there is depends on values",
    aten.lift_fresh: "a tensor is made of the processor's values",
    aten.unique_dim: "how much there is depends on values",
    aten._unique2: "how much there is depends on values",
    aten.bincount: "how much there is depends on values",
}


class Waits(TorchDispatchMode):
    """Notes the operations for which a GPU would have to tell the processor something, or wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        if packet in WAITS:
            self.seen.append(f"{packet}: {WAITS[packet]}")
        if packet in {aten.index, aten.index_put, aten.index_put_} and any(
            index is not None and index.dtype in {torch.bool, torch.uint8} for index in args[1]
        ):
            self.seen.append(f"{packet}: a mask is an index")
        return func(*args, **(kwargs or {}))


class Made(TorchFunctionMode):
    """Notes tensors that are made of the processor's values."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in {torch.tensor, torch.as_tensor, torch.from_numpy, torch.asarray, Tensor.new_tensor}:
            self.seen.append(f"{func.__name__}: a tensor is made of the processor's values")
        return func(*args, **(kwargs or {}))


def noted(work: Callable[[], Any]) -> list[str]:
    """Return what ``work`` would have a GPU and the processor wait for."""
    with Made() as made, Waits() as waits:
        work()
    return made.seen + waits.seen


def numbers() -> Any:
    task = regression("height")
    train = Train.model_validate({**test_network.TRAIN, "loss": {"kind": "pixel_regression", "beta": 0.1}})
    values = np.random.default_rng(0).uniform(*task.range, (4, 32, 32)).astype(np.float32)
    values[0, :9] = np.nan
    return (
        test_network.NETWORK,
        task,
        train,
        test_network.inputs(),
        (test_network.Memory(4, 0).pixels, {"values": values}),
    )


def pixels(architecture: str) -> Any:
    options: dict[str, Any] = {"depth": 3, "decoder": {"decoder_channels": [16, 8, 8]}}
    model = Segmenter.model_validate(
        {**test_network.SMALL, "architecture": architecture, "dropout": 0.1}
        | (options if architecture == "unet" else {"depth": 5, "decoder": {}})
    )
    read = test_network.Memory(4, 0).read(np.arange(4))
    return model, segmentation("a", "b", "c"), Train.model_validate(test_network.TRAIN), test_network.inputs(), read


def whole(several: bool) -> Any:
    task = test_classifier.SEVERAL if several else test_classifier.ONE
    read = test_classifier.Memory(4, 0, task).read(np.arange(4))
    return test_classifier.CLASSIFIER, task, test_classifier.TRAIN, test_network.inputs(), read


def objects(architecture: str) -> Any:
    read = boxes.Memory(4, 0).read(np.arange(4))
    return detector(architecture), boxes.Boxes(), boxes.Training(), boxes.inputs(), read


KINDS: dict[str, Callable[[], Any]] = {
    "unet": lambda: pixels("unet"),
    "fpn": lambda: pixels("fpn"),
    "deeplabv3plus": lambda: pixels("deeplabv3plus"),
    "segformer": lambda: pixels("segformer"),
    "regression": numbers,
    "classifier": lambda: whole(several=False),
    "classifier, several": lambda: whole(several=True),
    "fcos": lambda: objects("fcos"),
    "retinanet": lambda: objects("retinanet"),
}


def learner(kind: str) -> tuple[Learner, Any]:
    """Return who learns, and a batch."""
    model, task, train, about, (raw, target) = KINDS[kind]()
    network = build(model, task, about, 0).to(memory_format=torch.channels_last)
    made = Learner(network, task, Recipe(1, 0.01, 1, 4, train), np.arange(1, 1 + len(task.classes)))
    made.on_train_epoch_start()
    return made, (torch.from_numpy(raw), {name: torch.from_numpy(values) for name, values in target.items()})


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_waits_for_nothing(kind: str, half: bool) -> None:
    made, batch = learner(kind)
    optimizer = torch.optim.AdamW(made.network.parameters(), fused=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = made.training_step(batch, 0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(made.network.parameters(), 1.0)
        optimizer.step()
        made.on_train_batch_end()

    step()  # what is set up once may wait
    assert noted(step) == []


def test_what_waits_is_noted() -> None:
    some = torch.arange(3.0)
    for work in (
        lambda: some.sum().item(),
        lambda: bool(some.any()),
        lambda: some[some > 1],
        (some > 1).nonzero,
        lambda: torch.tensor([1.0]),
        lambda: some.masked_select(some > 1),
    ):
        assert noted(work)


@pytest.mark.slow  # torch looks at all of the network's Python
@pytest.mark.parametrize("kind", ["unet", "regression", "classifier, several"])
def test_augmentation_network_and_loss_are_one_graph(kind: str) -> None:
    made, (raw, target) = learner(kind)
    made.network.eval()  # no dropout
    turns, jitter = torch.arange(4), torch.randn(2, *raw.shape[:2])
    graph = torch.compile(made.augmented_loss, backend="eager", fullgraph=True)
    torch.testing.assert_close(graph(raw, target, turns, jitter), made.augmented_loss(raw, target, turns, jitter))
    assert made.network.one_graph


@pytest.mark.parametrize("kind", ["unet", "classifier"])
def test_validation_counts_as_arrays_are_counted_and_asks_once_an_epoch(kind: str) -> None:
    made, batch = learner(kind)
    made.average.module.eval()
    with torch.no_grad():
        said, _ = made.average.module.examined(*batch, made._recipe.train.loss, made._class_weights)
        made.on_validation_epoch_start()
        seen = noted(lambda: [made.validation_step(batch, number) for number in range(2)])
    assert seen == []
    arrays = [{name: values.numpy() for name, values in some.items()} for some in (batch[1], said)]
    counts = made._scoring.chip_counts(*arrays)
    assert made._tally is not None
    assert made._scoring.tallied(made._tally.numpy()) == counts + counts


def test_sums_of_errors_are_what_arrays_give() -> None:
    task = regression("height")
    generator = np.random.default_rng(0)
    truth = generator.uniform(*task.range, (3, 40, 50)).astype(np.float32)
    values = truth[:, None] + generator.normal(0.2, 1, (3, 1, 40, 50)).astype(np.float32)
    truth[generator.random(truth.shape) < 0.2] = np.nan
    values[generator.random(values.shape) < 0.1] = np.nan
    scoring = scoring_of(task)
    halves = [
        scoring.tally({"values": torch.from_numpy(truth[some])}, {"values": torch.from_numpy(values[some])})
        for some in (slice(1), slice(1, 3))
    ]
    for found, some in (*zip(halves, (slice(1), slice(1, 3)), strict=True), (sum(halves), slice(3))):  # type: ignore[arg-type]
        expected = scoring.chip_counts({"values": truth[some]}, {"values": values[some]})
        assert vars(scoring.tallied(found.numpy())) == pytest.approx(vars(expected), rel=1e-12, abs=1e-9)
    for value in (task.range[1] * 0.37, task.range[0], 0.1):  # labels that are all equal have no R²
        equal = np.full((4, 30, 30), value, np.float32)
        equal[generator.random(equal.shape) < 0.3] = np.nan
        batches = [
            scoring.tally({"values": torch.from_numpy(some)}, {"values": torch.from_numpy(some[:, None] + 1)})
            for some in np.array_split(equal, 3)
        ]
        together = scoring.tallied(sum(batches).numpy())  # type: ignore[union-attr, arg-type]
        assert together.summary()["r2"] is None
        assert together.summary()["mae"] == pytest.approx(1, rel=1e-6)
    nothing = torch.full((1, 4, 4), torch.nan)
    empty = scoring.tally({"values": nothing}, {"values": nothing[:, None]})
    assert empty is not None
    assert scoring.tallied(empty.numpy()) == scoring.no_counts()


@pytest.mark.parametrize("kind", ["classifier, several", "fcos"])
def test_validation_counts_each_batch_while_the_next_is_seen(kind: str) -> None:
    made, (raw, target) = learner(kind)
    made.average.module.eval()
    counted: list[int] = []
    plain = made._scoring.chip_counts
    made._scoring.chip_counts = lambda truth, outputs: counted.append(len(truth)) or plain(truth, outputs)
    with torch.no_grad():
        made.on_validation_epoch_start()
        for number in range(3):
            made.validation_step((raw, target), number)
            assert len(counted) == number
        made.on_validation_epoch_start()  # what another epoch left counts nowhere
        made.validation_step((raw, target), 0)
    assert len(made._seen) == 1
    assert len(counted) == 2


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("task", [segmentation(*"abcde"), cells(*"abcde")], ids=["px", "cells"])
def test_a_tally_is_exactly_what_arrays_give(task: Any, half: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    places = (7, 300, 300) if task.kind == "semantic_segmentation" else (500,)
    truth = torch.randint(0, 5, places, generator=generator).to(torch.uint8)
    truth[torch.rand(places, generator=generator) < 0.1] = 255
    scores = torch.randint(0, 4, (places[0], 5, *places[1:]), generator=generator).float()  # many are the same
    scoring = scoring_of(task)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        tally = scoring.tally({"classes": truth}, {"scores": scores})
    assert tally is not None
    expected = scoring.chip_counts({"classes": truth.numpy()}, {"scores": scores.numpy()})
    assert scoring.tallied((tally + tally).numpy()) == expected + expected
    wrong = scoring.tally({"classes": truth.where(truth != 3, 9)}, {"scores": scores})
    assert wrong is not None
    with pytest.raises(ValueError, match="ids that none of 5 classes has"):
        scoring.tallied(wrong.numpy())
