"""Augmentation of whole batches, on the device."""

from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor

from quadrat.tasks.common.symmetries import turn

Turn = Callable[[Mapping[str, Tensor], Tensor, int], dict[str, Tensor]]
"""Turns targets (chip, …), by name, under symmetries (chip,), with chips of so many px: ``TaskTargets.turn``."""


def symmetries(chips: int, generator: Generator) -> Tensor:
    """Draw one of the eight symmetries of the square for each chip (chip,), on the generator's device."""
    return torch.randint(8, (chips,), generator=generator, device=generator.device)


def noise(chips: int, bands: int, generator: Generator) -> Tensor:
    """Draw (2, chip, band) from N(0, 1), on the generator's device: what ``jittered`` takes."""
    return torch.randn(2, chips, bands, generator=generator, device=generator.device)


def turned(
    image: Tensor, target: Mapping[str, Tensor], turn_target: Turn, symmetry: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Turn and mirror each chip by its ``symmetry`` (chip,), its target alike.

    ``image`` is (chip, …, y, x); chips must be square.
    """
    return turn(image, symmetry), turn_target(target, symmetry, image.shape[-1])


def jittered(normalised: Tensor, gain: float, offset: float, noise: Tensor) -> Tensor:
    """Return (chip, band, y, x) × (1 + a) + b, with a = ``gain`` × ``noise``[0] and b = ``offset`` × ``noise``[1]."""
    stronger, more = noise[..., None, None]
    moved: Tensor = normalised * (1 + gain * stronger) + offset * more
    return moved
