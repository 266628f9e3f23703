"""Augmentation of whole batches, on the device."""

import torch
from torch import Generator, Tensor


def turned(arrays: list[Tensor], generator: Generator) -> list[Tensor]:
    """Turn and mirror each chip by one of the eight symmetries of the square, alike in all ``arrays`` (chip, …, y, x).

    Chips must be square.
    """
    drawn = torch.randint(8, (len(arrays[0]),), generator=generator)
    results = [torch.empty_like(array) for array in arrays]
    for symmetry in range(8):
        mine = (drawn == symmetry).nonzero()[:, 0]
        if len(mine):
            for array, result in zip(arrays, results, strict=True):
                result[mine] = turn(array[mine], symmetry)
    return results


def turn(array: Tensor, symmetry: int) -> Tensor:
    """Return (…, y, x) under one of the symmetries 0 to 7: quarter turns 0 to 3, and the same of its transpose."""
    return torch.rot90(array.mT if symmetry & 4 else array, symmetry & 3, (-2, -1))


def jittered(normalised: Tensor, gain: float, offset: float, generator: Generator) -> Tensor:
    """Return (chip, band, y, x) × (1 + a) + b, a and b drawn for each chip and band from N(0, gain²), N(0, offset²)."""
    drawn = torch.randn(2, *normalised.shape[:2], 1, 1, generator=generator).to(normalised.device)
    return normalised * (1 + gain * drawn[0]) + offset * drawn[1]
