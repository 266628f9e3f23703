"""Losses are those of the labels that count, gathered one by one, and so are their gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot, smooth_l1_loss

from quadrat.tasks import Loss
from quadrat.tasks.common.parts import logit_loss_of
from tests.ground import cells, regression, segmentation

NONE = 255
SHARES = [0.6, 0.3, 0.1, 0.0]

Pair = tuple[Any, Any, Tensor, dict[str, Tensor], Callable[[Tensor], Tensor]]
"""A task, its section, outputs, a target, and the loss of the outputs as it is gathered."""


def weights(balance: float) -> Tensor:
    return torch.tensor([share**-balance if share > 0 else 0.0 for share in SHARES])


def ids(shape: tuple[int, ...], seed: int) -> Tensor:
    drawn = torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    drawn[torch.rand(shape, generator=torch.Generator().manual_seed(seed + 1)) < 0.3] = NONE
    return drawn


def logits(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3)) * 3


def of_pixels(smoothing: float, balance: float, dice: float) -> Pair:
    truth = ids((3, 8, 9), 0)

    def gathered(outputs: Tensor) -> Tensor:
        counted, true = truth != NONE, truth.long()
        total = cross_entropy(outputs, true, weights(balance), ignore_index=NONE, label_smoothing=smoothing)
        likely = outputs.movedim(1, -1)[counted].softmax(-1)
        same = one_hot(true[counted], 4).float()
        shared, both = (likely * same).sum(0), (likely + same).sum(0)
        present = same.sum(0) > 0
        return total + dice * (1 - 2 * shared[present] / both[present]).mean()

    section = {
        "kind": "semantic_segmentation",
        "dice": dice,
        "label_smoothing": smoothing,
        "class_balance": balance,
    }
    return segmentation(*"abcd"), section, logits(3, 4, 8, 9), {"classes": truth}, gathered


def of_cells(smoothing: float, balance: float) -> Pair:
    truth = ids((20,), 0)

    def gathered(outputs: Tensor) -> Tensor:
        shares = torch.tensor([max(share, 0.1) ** -balance for share in SHARES])
        return cross_entropy(outputs, truth.long(), shares, ignore_index=NONE, label_smoothing=smoothing)

    section = {"kind": "chip_classification", "label_smoothing": smoothing, "class_balance": balance}
    return cells(*"abcd"), section, logits(20, 4), {"classes": truth}, gathered


def of_several_cells(smoothing: float, balance: float) -> Pair:
    truth = ids((20, 4), 0).clamp(max=NONE)
    truth[truth == 2] = 0

    def gathered(outputs: Tensor) -> Tensor:
        known = truth != NONE
        shares = torch.tensor([max(share, 0.1) ** -balance for share in SHARES])
        each = (shares / shares.mean()).expand_as(outputs)[known]
        wanted = truth[known].float() * (1 - smoothing) + smoothing / 2
        return binary_cross_entropy_with_logits(outputs[known], wanted, each)

    task = cells(*"abcd").model_copy(update={"multi_label": True})
    section = {"kind": "chip_classification", "label_smoothing": smoothing, "class_balance": balance}
    return task, section, logits(20, 4), {"classes": truth}, gathered


def of_values(beta: float) -> Pair:
    task = regression("height")
    low, high = task.range
    values = (torch.rand(3, 8, 9, generator=torch.Generator().manual_seed(0)) * (high - low) + low).to(torch.float32)
    values[torch.rand(3, 8, 9, generator=torch.Generator().manual_seed(1)) < 0.3] = torch.nan

    def gathered(outputs: Tensor) -> Tensor:
        counted = ~values.isnan()
        return smooth_l1_loss(outputs[:, 0][counted], (values[counted] - low) / (high - low), beta=beta)

    return task, {"kind": "pixel_regression", "beta": beta}, logits(3, 1, 8, 9), {"values": values}, gathered


PAIRS = {
    "px": of_pixels(0.0, 0.0, 0.0),
    "px, smooth": of_pixels(0.1, 0.0, 0.0),
    "px, balanced": of_pixels(0.0, 0.5, 0.0),
    "px, all": of_pixels(0.05, 0.5, 0.7),
    "cells": of_cells(0.0, 0.0),
    "cells, all": of_cells(0.1, 0.5),
    "several": of_several_cells(0.0, 0.0),
    "several, all": of_several_cells(0.1, 0.5),
    "values": of_values(0.1),
    "values, far": of_values(2.0),
}


def told(task: Any, section: Any, outputs: Tensor, target: dict[str, Tensor]) -> Tensor:
    loss: Any = logit_loss_of(task)
    train = TypeAdapter(Loss).validate_python(section, strict=False)
    shares = SHARES if len(task.classes) > 1 else [1.0]
    return loss.loss(train, outputs, target, torch.tensor(loss.class_weights(train, shares)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", PAIRS)
def test_a_loss_and_its_gradient_are_as_when_labels_are_gathered(name: str, channels_last: bool) -> None:
    task, section, outputs, target, gathered = PAIRS[name]
    if channels_last and outputs.ndim == 4:
        outputs = outputs.contiguous(memory_format=torch.channels_last)
    ours, theirs = (outputs.clone().requires_grad_() for _ in range(2))
    found, expected = told(task, section, ours, target), gathered(theirs)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    found.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", PAIRS)
def test_a_loss_of_half_precision_is_that_of_the_same_numbers_in_single(name: str, half: torch.dtype) -> None:
    task, section, outputs, target, _ = PAIRS[name]
    rounded = outputs.to(half)
    torch.testing.assert_close(told(task, section, rounded, target), told(task, section, rounded.float(), target))


@pytest.mark.parametrize("name", PAIRS)
def test_where_nothing_is_labelled_there_is_no_loss_and_no_gradient(name: str) -> None:
    task, section, outputs, target, _ = PAIRS[name]
    outputs = outputs.clone().requires_grad_()
    nothing = {k: torch.full_like(v, NONE if v.dtype == torch.uint8 else torch.nan) for k, v in target.items()}
    loss = told(task, section, outputs, nothing)
    loss.backward()
    assert loss == 0
    assert outputs.grad is not None
    assert (outputs.grad == 0).all()


def test_labels_of_a_class_that_weighs_nothing_alone_are_no_loss() -> None:
    task, section, outputs, _, _ = of_pixels(0.1, 0.5, 0.0)
    assert torch.isfinite(told(task, section, outputs, {"classes": torch.full((3, 8, 9), 3, dtype=torch.uint8)}))


@pytest.mark.parametrize("kind", ["semantic_segmentation", "chip_classification"])
def test_weights_that_are_given_by_name_are_taken_as_they_are(kind: str) -> None:
    task: Any = segmentation(*"abcd") if kind == "semantic_segmentation" else cells(*"abcd")
    section = {"class_weights": {"b": 3.0, "d": 0.0}}
    given = TypeAdapter(Loss).validate_python({"kind": kind, **section})
    assert logit_loss_of(task).class_weights(given, SHARES) == [1.0, 3.0, 1.0, 0.0]
