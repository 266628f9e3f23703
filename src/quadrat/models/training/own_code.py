"""Losses and augmentations of the user's own: called, and what they return held against what it should be."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from quadrat.errors import PluginError
from quadrat.models.common.model import PluginAugmentation, Train
from quadrat.plugins.calling import make
from quadrat.plugins.finding import failed
from quadrat.plugins.section import Plugin
from quadrat.tasks.common.cross_entropy import share
from quadrat.tasks.common.parts import logit_loss_of, targets_of
from quadrat.tasks.common.section import PluginLoss, TaskSection
from quadrat.tasks.common.targets import TaskTargets
from quadrat.tasks.common.together import total

Target = Mapping[str, Tensor]
"""The targets of a batch (chip, …) by name."""

CHIPS, SIDE = 2, 8
"""Chips, and their side in px, with which losses are tried."""


def loss_of(train: Train, task: TaskSection) -> Any:
    """Return the section ``train.loss``, or the loss of the user's own that it names, tried once; see ``OwnLoss``."""
    if not isinstance(train.loss, PluginLoss):
        return train.loss
    loss = OwnLoss(train.loss, task)
    loss.tried()
    return loss


def augmentation_of(train: Train, targets: TaskTargets[Any]) -> "OwnAugmentation | None":
    """Return the augmentation of the user's own that ``train.augment`` names; None where it names none."""
    named = train.augment.plugin
    return None if named is None else OwnAugmentation(named, targets)


def try_plugin(plugin: Plugin, task: TaskSection, bands: int, size: int) -> None:
    """Call a loss or an augmentation with made-up chips of ``size`` px; raise PluginError where it can't be used."""
    if isinstance(plugin, PluginLoss):
        OwnLoss(plugin, task).tried()
    if isinstance(plugin, PluginAugmentation):
        OwnAugmentation(plugin, targets_of(task)).tried(bands, size)


class OwnLoss:
    """A loss of the user's own, of logits and a target.

    It is a function of logits, truth and mask (``TaskTargets.known``). It returns the loss of the batch, or one of each
    value of the truth; of these the mean is taken where the mask is True.
    """

    def __init__(self, plugin: PluginLoss, task: TaskSection) -> None:
        """Call what ``plugin`` names; raise PluginError where it can't be called, or doesn't return a function."""
        self._plugin, self._task, self._targets = plugin, task, targets_of(task)
        self._call = _function(plugin)

    def __call__(self, logits: Tensor, target: Target) -> Tensor:
        """Return the loss, a scalar; raise PluginError where the user's code fails, or returns another shape."""
        return self._mean(logits, *self._targets.known(target))

    def tried(self) -> None:
        """Raise PluginError where the loss of made-up logits is not finite, or can't be learnt from."""
        lengths = {"window": CHIPS, "y": SIDE, "x": SIDE}
        axes = next(iter(logit_loss_of(self._task).signature().axes.values()))
        shape = [lengths[axis] if isinstance(axis, str) else axis for axis in axes]
        logits = torch.linspace(-1, 1, math.prod(shape)).reshape(shape).requires_grad_()
        truth, mask = self._targets.known(self._targets.unlabelled(CHIPS, SIDE))
        for labelled, where in ((True, ""), (False, " for a batch without a label")):
            loss = self._mean(logits, truth, torch.full_like(mask, labelled))
            if labelled and not loss.requires_grad:
                problem = "can't be learnt from: it has no gradient"
            elif not bool(torch.isfinite(loss)):
                problem = f"is not finite{where}"
            else:
                continue
            raise PluginError(
                f"{self._plugin.key}: the loss {self._plugin.name} {problem}",
                got=loss.item(),
                hint="return the loss of each label in place of their mean: then those count where the mask is True",
            )

    def _mean(self, logits: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
        found = _called(self._plugin, self._call, logits.float(), truth, mask)
        if not isinstance(found, Tensor) or found.shape not in {mask.shape, ()}:
            raise PluginError(
                f"{self._plugin.key}: {self._plugin.name} returns no loss",
                expected=f"a tensor of the shape (), or that of the mask, {tuple(mask.shape)}",
                got=_shown(found),
            )
        if found.shape == mask.shape:
            return share(total(found.where(mask, 0).sum()), total(mask.sum()))
        chips = mask.new_full((), len(mask), dtype=found.dtype)
        share_of_all = chips / total(chips)  # 1 on one device
        return total(found * share_of_all)


class OwnAugmentation:
    """An augmentation of the user's own: a function of images, target and generator, which returns images and target.

    Images are normalised pixels (chip, band, y, x), float32, on the device, and the generator is the device's.
    """

    def __init__(self, plugin: PluginAugmentation, targets: TaskTargets[Any]) -> None:
        """Call what ``plugin`` names; raise PluginError where it can't be called, or doesn't return a function."""
        self._plugin, self._targets, self._call = plugin, targets, _function(plugin)

    def __call__(self, images: Tensor, target: Target, generator: Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Return other images and targets of the same shapes and types; else raise PluginError."""
        found = _called(self._plugin, self._call, images, dict(target), generator)
        expected, got = self._told(images, target), _shown(found)
        if isinstance(found, tuple) and len(found) == 2 and _is_batch(*found):
            changed, changed_target = found
            got = self._told(changed, changed_target)
            if got == expected:
                return changed, changed_target
        raise PluginError(
            f"{self._plugin.key}: {self._plugin.name} returns something else than images and targets like those given",
            expected=expected,
            got=got,
        )

    def tried(self, bands: int, size: int) -> None:
        """Raise PluginError where chips of ``bands`` and ``size`` px, without labels, can't be augmented."""
        self(torch.zeros(CHIPS, bands, size, size), self._targets.unlabelled(CHIPS, size), torch.Generator())

    def _told(self, images: Tensor, target: Target) -> str:
        """Return types and shapes as text, without the lengths that may differ."""
        told = {name: _shown(values, name in self._targets.ragged) for name, values in sorted(target.items())}
        return f"{_shown(images)}, {told}"


def _is_batch(images: object, target: object) -> bool:
    return isinstance(images, Tensor) and isinstance(target, dict) and all(map(torch.is_tensor, target.values()))


def _function(plugin: Plugin) -> Callable[..., Any]:
    made = make(plugin)
    if not callable(made):
        raise PluginError(
            f"{plugin.key}: {plugin.name} is no {plugin.role}",
            expected="a class whose objects can be called, or a function that returns a function",
            got=type(made).__name__,
            hint="docs/plugins.md shows one",
        )
    return made  # type: ignore[no-any-return]


def _called(plugin: Plugin, function: Callable[..., Any], *given: Any) -> Any:
    try:
        return function(*given)
    except Exception as error:  # whatever the user's code raises
        raise failed(plugin, "fails", error) from error


def _shown(value: object, ragged: bool = False) -> str:  # noqa: FBT001, FBT002 (of a private function)
    """Return a tensor's type, shape and device as text; of others, the type."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    shape = ["…" if axis == 1 and ragged else str(side) for axis, side in enumerate(value.shape)]
    return f"{value.dtype} ({', '.join(shape)}) on {value.device.type}".removeprefix("torch.")
