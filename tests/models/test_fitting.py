"""Every network learns in half precision as in single, and steps by clipped gradients in all of them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from quadrat.errors import ModelError
from quadrat.models import Recipe, Segmenter, Train
from quadrat.models.common.devices import PRECISIONS
from quadrat.models.segmenter.segmenter import Architecture
from quadrat.models.training import fitting
from quadrat.models.training.learner import Learner
from quadrat.models.training.neural import build
from quadrat.tasks import ChipClassification
from tests.ground import cells
from tests.models import boxes, test_classifier, test_dates, test_network
from tests.models.test_detector import ARCHITECTURES, detector

POOLINGS = test_dates.POOLINGS
BETA = 0.9
"""AdamW's share of the mean of gradients that stays at each step."""

SCALER = torch.amp.GradScaler

Fit = Callable[[Path], Any]


def dense(checkpoint: Path, *, clip: float = 1.0, dated: bool = False, **parameters: Any) -> Any:
    small = {**test_network.SMALL, "encoder": "test_resnet", "dropout": 0.0, "depth": 5, "decoder": {}}
    if parameters["architecture"] in {"unet", "unetplusplus", "manet"}:
        small |= {"depth": 3, "decoder": {"decoder_channels": [16, 8, 8]}}
    if parameters["architecture"] == "upernet":
        small |= {"depth": 3, "decoder": {"decoder_channels": 16}}
    model = Segmenter.model_validate({**small, **parameters})
    memory, about = (test_dates.Dated, test_dates.inputs()) if dated else (test_network.Memory, test_network.inputs())
    train = Train.model_validate({**test_network.TRAIN, "gradient_clip_norm": clip})
    recipe = Recipe(1, 0.01, 1, 4, train)
    return model.fit(memory(4, 0), memory(2, 1), test_network.TASK, about, recipe, checkpoint)


def whole(checkpoint: Path, task: ChipClassification) -> Any:
    model = test_classifier.CLASSIFIER.model_copy(update={"encoder": "test_resnet"})
    chips, others = (test_classifier.Memory(8, seed, task) for seed in (0, 1))
    recipe = Recipe(1, 0.005, 1, 4, test_classifier.TRAIN)
    return model.fit(chips, others, task, test_network.inputs(), recipe, checkpoint)


def objects(checkpoint: Path, architecture: str) -> Any:
    chips, task, recipe = boxes.Memory(8, 0), boxes.Boxes(), boxes.recipe(1)
    return detector(architecture).fit(chips, boxes.Memory(4, 1), task, boxes.inputs(), recipe, checkpoint)  # type: ignore[arg-type]


def dated(checkpoint: Path, kind: str) -> Any:
    """Fit to series of three dates, of which one lacks here and there."""
    if kind == "classifier":
        model: Any = test_classifier.CLASSIFIER.model_copy(update={"dates": "attention", "encoder": "test_resnet"})
        task: Any = cells("a", "b", "c")
        made: Any = test_classifier.Memory
        recipe = Recipe(1, 0.005, 1, 4, test_classifier.TRAIN)
    else:
        model, task, made, recipe = detector(dates="attention"), boxes.Boxes(), boxes.Memory, boxes.recipe(1)
    training, validation = made(8, 0), made(4, 1)
    for chips in (training, validation):
        chips.pixels = np.tile(chips.pixels, (1, 3, 1, 1)).astype(np.uint16)
        chips.pixels[::3, 3:6] = 0
    return model.fit(training, validation, task, test_dates.inputs(), recipe, checkpoint)


def choose(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in ``precision``; float16's losses are scaled so that no step is left out."""
    monkeypatch.setenv("QUADRAT_PRECISION", precision)
    monkeypatch.setattr(torch.amp, "GradScaler", partial(SCALER, init_scale=512.0))


KINDS: dict[str, Fit] = {
    **{name: partial(dense, architecture=name) for name in get_args(Architecture)},
    **{f"unet, {pooling}": partial(dense, architecture="unet", dates=pooling, dated=True) for pooling in POOLINGS},
    "classifier": partial(whole, task=test_classifier.ONE),
    "classifier, several": partial(whole, task=test_classifier.SEVERAL),
    "classifier, dates": partial(dated, kind="classifier"),
    **{name: partial(objects, architecture=name) for name in ARCHITECTURES},
    "detector, dates": partial(dated, kind="detector"),
}


FLOAT16 = ("unet", "unet, attention", "classifier", "classifier, several", *ARCHITECTURES)
"""What learns in float16 too; it takes long without a GPU."""


@pytest.mark.parametrize("kind", KINDS)
def test_every_network_learns_in_half_precision_as_in_single(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = KINDS[kind](tmp_path / "single")
    for precision in ("bf16", "fp16") if kind in FLOAT16 else ("bf16",):
        choose(precision, monkeypatch)
        half = KINDS[kind](tmp_path / precision)
        assert single.weights.keys() == half.weights.keys()
        assert all(values.dtype != np.float16 for values in half.weights.values())
        assert all(np.isfinite(values).all() for name, values in half.weights.items() if name != "nodata")
        losses = [fitted.history[0]["train_loss"] for fitted in (single, half)]
        assert losses[0] != losses[1]  # it was another precision
        assert losses[1] == pytest.approx(losses[0], rel=0.03)
        assert np.isfinite(half.history[0]["validation_loss"])


def test_an_epoch_whose_metric_is_undefined_is_not_the_best() -> None:
    history: list[dict[str, float | int | None]] = [
        {"epoch": number, "validation_r2": r2} for number, r2 in enumerate((None, -3.0, -5.0))
    ]
    assert fitting._best(history, "validation_r2") == {"r2": -3.0, "epoch": 1, "epochs": 3}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("clip", [1.0, 1000.0])
def test_steps_are_by_the_gradient_of_the_loss_clipped_as_torch_clips_it(
    clip: float, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the mean of gradients that AdamW holds after its first step, beside the gradient that autograd gives."""
    choose(precision, monkeypatch)
    shown: list[dict[str, torch.Tensor]] = []
    expected: list[dict[str, torch.Tensor]] = []
    step, end = Learner.training_step, Learner.on_train_batch_end

    def gradients(learner: Learner, batch: Any, number: int) -> torch.Tensor:
        loss = step(learner, batch, number)
        if not expected:
            named = dict(learner.network.named_parameters())
            found = torch.autograd.grad(loss, list(named.values()), retain_graph=True)
            expected.append(dict(zip(named, found, strict=True)))
        return loss

    def look(learner: Learner, *given: Any) -> None:
        end(learner, *given)
        state = learner.trainer.optimizers[0].state
        if not shown:
            held = learner.network.named_parameters()
            shown.append({name: state[weight]["exp_avg"].clone() / (1 - BETA) for name, weight in held})

    monkeypatch.setattr(Learner, "training_step", gradients)
    monkeypatch.setattr(Learner, "on_train_batch_end", look)
    dense(tmp_path, clip=clip, architecture="fpn")
    wanted = torch.cat([found.double().flatten() for found in expected[0].values()])
    stepped = torch.cat([shown[0][name].double().flatten() for name in expected[0]])
    assert 2 < wanted.norm() < 500  # one of both clips
    wanted *= min(1.0, clip / float(wanted.norm()))
    assert (stepped - wanted).norm() < 0.01 * wanted.norm()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_fit_that_was_ended_goes_on_and_ends_as_if_nothing_had_been(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUADRAT_PRECISION", precision)
    whole = test_network.fit(tmp_path / "whole")

    begin = Learner.on_train_epoch_start

    def killed(learner: Learner) -> None:
        if learner.current_epoch == 1:
            raise ZeroDivisionError
        begin(learner)

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "on_train_epoch_start", killed)
        with pytest.raises(ZeroDivisionError):
            test_network.fit(tmp_path / "killed")
    resumed = test_network.fit(tmp_path / "killed")
    assert resumed.history == whole.history
    for name, values in whole.weights.items():
        np.testing.assert_array_equal(resumed.weights[name], values, err_msg=name)


def test_a_fit_repeats_where_torch_can_and_leaves_torch_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def modes() -> tuple[int, bool]:
        return torch.get_deterministic_debug_mode(), torch.utils.deterministic.fill_uninitialized_memory

    seen: list[tuple[int, bool]] = []
    step = Learner.training_step

    def noted(learner: Learner, batch: Any, number: int) -> torch.Tensor:
        seen.append(modes())
        return step(learner, batch, number)

    monkeypatch.setattr(Learner, "training_step", noted)
    before, drawn = modes(), torch.get_rng_state()
    dense(tmp_path, architecture="fpn")
    assert set(seen) == {(1, False)}
    assert modes() == before == (0, True)
    assert torch.equal(torch.get_rng_state(), drawn)


def test_several_gpus_are_not_asked_what_they_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's warning of it would fail."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.random, "_fork_rng_warned_already", False)
    build(test_network.NETWORK, test_network.TASK, test_network.inputs(), 1)


def test_a_precision_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUADRAT_PRECISION", "16")
    with pytest.raises(ModelError, match=r"no such precision(.|\n)*fp32, bf16, fp16(.|\n)*16"):
        test_network.fit(tmp_path)
