"""Losses and augmentations of one's own: what they are given, what they may return, and that training repeats."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from quadrat.errors import PluginError
from quadrat.models import Recipe, Train
from quadrat.models.common.devices import device
from quadrat.models.training.learner import Learner
from quadrat.models.training.neural import build
from quadrat.models.training.own_code import OwnLoss, augmentation_of, loss_of, try_plugin
from quadrat.tasks.common import together
from quadrat.tasks.common.parts import targets_of
from tests.ground import cells, detection, regression, segmentation
from tests.models.test_network import NETWORK, TASK, TRAIN, Memory, inputs
from tests.plugins.own import LOSSES, project

AUGMENT = """
    import torch

    class Shifted:
        def __init__(self, by: float = 1.0):
            self.by = by

        def __call__(self, images, target, generator):
            draw = torch.rand(len(images), 1, 1, 1, generator=generator, device=generator.device)
            return images + self.by * draw, target

    def fewer():
        return lambda images, target, generator: (images[:1], target)

    def doubled():
        return lambda images, target, generator: (images.double(), target)

    def silent():
        return lambda images, target, generator: images

    def unnamed():
        return lambda images, target, generator: (images, {})

    def more_boxes():
        def augment(images, target, generator):
            boxes = target["boxes"]
            return images, {"boxes": torch.cat([boxes, boxes], 1)}
        return augment
    """


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project(tmp_path, losses=LOSSES, augment=AUGMENT))
    return tmp_path


def training(loss: str | None = None, augment: str | None = None, **arguments: Any) -> Train:
    changed: dict[str, Any] = {**TRAIN}
    if loss:
        changed["loss"] = {"kind": "plugin", "name": f"plugins.losses:{loss}", "arguments": arguments}
    if augment:
        changed["augment"] = {"plugin": {"name": f"plugins.augment:{augment}", "arguments": arguments}}
    return Train.model_validate(changed)


def masked(kind: str) -> tuple[Any, Any, Any, Any]:
    """Return a task, logits and a target with two labels, and terms that are right for a loss of one's own."""
    logits = torch.arange(2 * 2 * 2 * 2, dtype=torch.float32).reshape(2, 2, 2, 2) / 10
    ids = torch.full((2, 2, 2), 255, dtype=torch.uint8)
    ids[0, 0, 1], ids[1, 1, 0] = 1, 0
    mask = torch.zeros(2, 2, 2, dtype=torch.bool)
    mask[0, 0, 1] = mask[1, 1, 0] = True
    if kind == "px":
        return segmentation("a", "b"), logits, {"classes": ids}, (logits, torch.where(mask, ids, 0).long(), mask)
    if kind == "values":
        values = torch.where(mask, 20.0, torch.nan)
        return (
            regression("h"),
            logits[:, :1],
            {"values": values},
            (logits[:, :1], torch.where(mask, 0.5, 0.0)[:, None], mask[:, None]),
        )
    if kind == "cells":
        known = torch.tensor([True, False])
        truth = torch.tensor([1, 255], dtype=torch.uint8)
        return (
            cells("a", "b"),
            logits[:, :, 0, 0],
            {"classes": truth},
            (logits[:, :, 0, 0], torch.tensor([1, 0]), known),
        )
    truth = torch.tensor([[1, 0], [255, 1]], dtype=torch.uint8)
    wanted = torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([[True, True], [False, True]])
    return cells("a", "b", multi_label=True), logits[:, :, 0, 0], {"classes": truth}, (logits[:, :, 0, 0], *wanted)


@pytest.mark.parametrize("kind", ["px", "values", "cells", "multi_label"])
def test_a_loss_is_given_outputs_truth_and_where_labels_count(kind: str) -> None:
    task, logits, target, expected = masked(kind)
    given = (logits, *targets_of(task).known(target))
    for one, other in zip(given, expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", ["px", "values", "cells", "multi_label", "boxes"])
def test_a_target_without_labels_is_as_those_of_chips(kind: str) -> None:
    task = detection("a") if kind == "boxes" else masked(kind)[0]
    target = targets_of(task).unlabelled(2, 2)
    if kind == "boxes":
        assert target["boxes"].shape == (2, 1, 5)
        assert target["boxes"].isnan().all()
        return
    _, _, like, _ = masked(kind)
    assert {name: (v.shape, v.dtype) for name, v in target.items()} == {n: (v.shape, v.dtype) for n, v in like.items()}
    assert not targets_of(task).known(target)[1].any()


def test_a_loss_of_each_label_is_averaged_over_those_that_count() -> None:
    task, logits, target, (_, truth, mask) = masked("px")
    loss = loss_of(training("Focal", gamma=0), task)
    wanted = cross_entropy(logits, truth, reduction="none")[mask].mean()
    torch.testing.assert_close(loss(logits, target), wanted)


@pytest.mark.parametrize("reduce", ["labels", "mean"])
def test_on_devices_that_have_the_same_the_loss_is_the_same(reduce: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task, logits, target, _ = masked("px")
    named: Any = training("Focal", reduce=reduce).loss
    loss = OwnLoss(named, task)
    logits = logits.requires_grad_()
    alone = loss(logits, target)
    (wanted,) = torch.autograd.grad(alone, logits)
    monkeypatch.setattr(together, "_summed", lambda values: 2 * values)
    with together.together(2):
        found = loss(logits, target)
        (gradient,) = torch.autograd.grad(found, logits)
    torch.testing.assert_close(found, alone)
    torch.testing.assert_close(gradient, wanted)


def test_no_label_leaves_no_loss_and_no_gradient_that_is_not_a_number() -> None:
    logits = torch.full((1, 2, 2, 2), torch.inf).requires_grad_()
    loss = loss_of(training("Focal"), segmentation("a", "b"))
    assert loss(logits, {"classes": torch.full((1, 2, 2), 255, dtype=torch.uint8)}) == 0


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Focal", {"reduce": "mean"}, r"is not finite for a batch without a label(.|\n)*got: nan"),
        ("constant", {}, r"can't be learnt from: it has no gradient"),
        ("shapeless", {}, r"returns no loss(.|\n)*that of the mask, \(2, 8, 8\)(.|\n)*got: float32 \(384\)"),
        ("nothing", {}, r"is no loss(.|\n)*got: NoneType"),
        ("squared", {}, r"plugins\.losses:squared fails(.|\n)*losses\.py:\d+(.|\n)*RuntimeError"),
    ],
)
def test_a_loss_that_can_not_be_used_is_told_before_training(
    name: str, arguments: dict[str, Any], message: str
) -> None:
    train = training(name, **arguments)
    with pytest.raises(PluginError, match=message):
        try_plugin(train.loss, TASK, 3, 32)  # type: ignore[arg-type]
    recipe = Recipe(1, 0.01, 1, 4, train)
    with pytest.raises(PluginError, match=message):
        NETWORK.fit(Memory(4, 0), Memory(2, 1), TASK, inputs(), recipe, Path("none"))


def test_a_loss_of_values_is_one_of_the_range() -> None:
    try_plugin(training("squared").loss, regression("height"), 3, 32)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fewer", r"something else(.|\n)*float32 \(2, 3, 8, 8\)(.|\n)*got: float32 \(1, 3, 8, 8\)"),
        ("doubled", r"got: float64"),
        ("silent", r"got: float32 \(2, 3, 8, 8\) on cpu"),
        ("unnamed", r"got: float32 \(2, 3, 8, 8\) on cpu, \{\}"),
        ("more_boxes", r"more_boxes fails(.|\n)*KeyError"),
    ],
)
def test_an_augmentation_returns_what_it_was_given_of(name: str, message: str) -> None:
    with pytest.raises(PluginError, match=rf"train\.augment\.plugin(.|\n)*{message}"):
        try_plugin(training(augment=name).augment.plugin, TASK, 3, 8)  # type: ignore[arg-type]


def test_boxes_may_be_more() -> None:
    try_plugin(training(augment="more_boxes").augment.plugin, detection("a"), 3, 8)  # type: ignore[arg-type]


def test_without_plugins_nothing_is_called() -> None:
    train = training()
    assert loss_of(train, TASK) is train.loss
    assert augmentation_of(train, frozenset()) is None


def test_training_repeats_and_follows_the_plugins(tmp_path: Path) -> None:
    def fitted(train: Train, place: str) -> Any:
        recipe = Recipe(1, 0.01, 2, 4, train)
        return NETWORK.fit(Memory(6, 0), Memory(2, 1), TASK, inputs(), recipe, tmp_path / place).history

    plain = fitted(training("Focal", gamma=2), "a")
    assert fitted(training("Focal", gamma=2), "b") == plain
    assert fitted(training("Focal", gamma=0), "c") != plain
    moved = fitted(training(augment="Shifted", by=0.5), "d")
    assert fitted(training(augment="Shifted", by=0.5), "e") == moved
    assert fitted(training(augment="Shifted", by=0.0), "f") != moved


def test_a_step_with_plugins_is_not_compiled() -> None:
    counts = np.array([1, 1, 1])
    for train, one_graph in ((training(), True), (training("Focal"), False), (training(augment="Shifted"), False)):
        made = Learner(build(NETWORK, TASK, inputs(), 0), TASK, Recipe(1, 0.01, 1, 4, train), counts)
        assert made.one_graph is one_graph


@pytest.mark.gpu
def test_plugins_run_on_the_device(tmp_path: Path) -> None:
    """A generator of another device would raise."""
    assert device().type == "cuda"
    both = training("Focal").model_copy(update={"augment": training(augment="Shifted").augment})
    fitted = NETWORK.fit(Memory(6, 0), Memory(2, 1), TASK, inputs(), Recipe(1, 0.01, 1, 4, both), tmp_path / "a")
    assert np.isfinite(fitted.history[0]["train_loss"])
