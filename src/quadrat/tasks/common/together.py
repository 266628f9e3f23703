"""Sums over all devices that train a network together, so that a loss is that of the whole batch on each of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_devices = 1


@contextmanager
def together(devices: int) -> Iterator[None]:
    """Let ``total`` sum over so many devices, each of a process in torch's default group."""
    global _devices  # noqa: PLW0603 losses are functions of tensors alone
    before, _devices = _devices, devices
    try:
        yield
    finally:
        _devices = before


def total(values: Tensor) -> Tensor:
    """Return the sum of each device's ``values``, of one shape and type; without others, or gradients, the values.

    Every device must call it equally often, with what its own chips add. On its way from a loss to a weight, a gradient
    passes one sum, and is then the whole batch's when the mean over the devices is taken, as DDP does.
    """
    if _devices == 1 or not torch.is_grad_enabled():
        return values
    summed: Tensor = _Total.apply(values)
    return summed


class _Total(torch.autograd.Function):
    """A sum over devices, whose gradient is for a mean over devices."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        return _summed(values)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return gradient * _devices


def _summed(values: Tensor) -> Tensor:
    import torch.distributed as dist

    held = values.detach().clone()
    dist.all_reduce(held)
    return held
