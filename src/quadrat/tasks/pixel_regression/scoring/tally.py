"""Summing up of errors on the device where values are predicted."""

import torch
from torch import Tensor


def sums(truth: Tensor, predicted: Tensor, middle: float) -> Tensor:
    """Return (7,), float64: pixels with a label, of these the predicted ones, and sums over them.

    That is of errors, absolute and squared ones, and of how far the labels are off ``middle``, and of its square: near
    the labels' mean these lose no digits. ``truth`` and ``predicted`` are of one shape, NaN where there is no value.
    """
    known = ~truth.isnan()
    counted = known & ~predicted.isnan()
    labels = truth.double()
    error = torch.where(counted, predicted.double() - labels, 0)
    off = torch.where(counted, labels - middle, 0)
    each = known.double(), counted.double(), error, error.abs(), error**2, off, off**2
    return torch.stack([values.sum() for values in each])
