"""Whether a network takes what it is to take: found on tensors that have a shape alone, so in no time at any size."""

import copy
import math

import torch

from quadrat.errors import ModelError
from quadrat.models.common.trainable import TrainableModule
from quadrat.models.training.neural import SINGLE, WRONG, too_small

PAIR = 2
"""Chips that tell as much of a batch as more."""

MOST = 1 << 26
"""Values that a network is tried with at most, where it can't be without."""


def take(network: TrainableModule, shape: tuple[int, int], what: str, hint: str) -> None:
    """Raise ModelError where ``network`` can't take windows of ``shape`` (height, width), or its maps don't fit them.

    ``what`` says in the error which windows these are, and ``hint`` what to change.
    """
    height, width = shape
    try:
        sizes = _sent(network, (1, network.channels, *shape), learning=False)
    except WRONG as error:
        raise ModelError(
            f"the network can't take such {what}",
            expected="an encoder and an architecture that leave something of them",
            got=f"{width} × {height} px: {error}",
            hint=hint,
        ) from error
    for stride, (down, across) in sizes.items():
        if (down, across) != (height // stride, width // stride):
            raise ModelError(
                "the network's output is of another size than its windows",
                expected=f"{width // stride} × {height // stride} px",
                got=f"{across} × {down} px",
                hint=hint,
            )


def learn(network: TrainableModule, batch: int, size: int) -> None:
    """Raise ModelError where a batch of chips of ``size`` px leaves nothing to normalise by while a network learns."""
    try:
        _sent(network, (min(batch, PAIR), network.channels, size, size), learning=True)
    except ValueError as error:
        if SINGLE in str(error):
            raise too_small(f"batches of {batch}, of chips of {size} px") from error


def _sent(network: TrainableModule, shape: tuple[int, int, int, int], *, learning: bool) -> dict[int, tuple[int, int]]:
    """Return height and width of the network's maps, by stride, of pixels of ``shape``; the network stays as it is.

    What fails without values is tried with them, for some networks look at them; of too many, nothing is told.
    """
    with torch.no_grad():
        try:
            return copy.deepcopy(network).to("meta").train(learning).sizes(torch.zeros(shape, device="meta"))
        except WRONG:
            if math.prod(shape) > MOST:
                return {}
            return copy.deepcopy(network).train(learning).sizes(torch.zeros(shape))
