"""Augmentation of whole batches, on the device."""

from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor

from quadrat.tasks.common.symmetries import turn

Turn = Callable[[Mapping[str, Tensor], int, int], dict[str, Tensor]]
"""Turns targets (chip, …), by name, under a symmetry, with chips of so many px: ``TaskTargets.turn``."""


def turned(
    image: Tensor, target: Mapping[str, Tensor], turn_target: Turn, generator: Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Turn and mirror each chip by one of the eight symmetries of the square, its target alike.

    ``image`` is (chip, …, y, x); chips must be square.
    """
    size = image.shape[-1]
    drawn = torch.randint(8, (len(image),), generator=generator)
    turned_image = torch.empty_like(image)
    turned_target = {name: torch.empty_like(values) for name, values in target.items()}
    for symmetry in range(8):
        mine = (drawn == symmetry).nonzero()[:, 0]
        if len(mine):
            turned_image[mine] = turn(image[mine], symmetry)
            for name, values in turn_target({n: v[mine] for n, v in target.items()}, symmetry, size).items():
                turned_target[name][mine] = values
    return turned_image, turned_target


def jittered(normalised: Tensor, gain: float, offset: float, generator: Generator) -> Tensor:
    """Return (chip, band, y, x) × (1 + a) + b, a and b drawn for each chip and band from N(0, gain²), N(0, offset²)."""
    drawn = torch.randn(2, *normalised.shape[:2], 1, 1, generator=generator).to(normalised.device)
    return normalised * (1 + gain * drawn[0]) + offset * drawn[1]
