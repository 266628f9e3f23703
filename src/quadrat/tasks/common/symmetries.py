"""The eight symmetries of the square: quarter turns 0 to 3, and 4 to 7 the same of the transpose.

Each chip has its own. They are chosen by masks, not by indices: a device need not tell the processor what was drawn.
"""

import torch
from torch import Tensor


def turn(array: Tensor, symmetry: Tensor) -> Tensor:
    """Return (chip, …, y, x) under the chips' symmetries (chip,)."""
    each = symmetry.reshape(-1, *[1] * (array.ndim - 1))
    array = torch.where((each & 4) > 0, array.mT, array)
    array = torch.where((each & 1) > 0, array.rot90(1, (-2, -1)), array)
    return torch.where((each & 2) > 0, array.rot90(2, (-2, -1)), array)


def turn_boxes(boxes: Tensor, symmetry: Tensor, size: int) -> Tensor:
    """Return (chip, box, 4) left, top, right, bottom, in px of a square of ``size`` px, as ``turn`` moves pixels."""
    each = symmetry[:, None, None]
    boxes = torch.where((each & 4) > 0, boxes.reshape(*boxes.shape[:-1], 2, 2).flip(-1).flatten(-2), boxes)
    left, top, right, bottom = boxes.unbind(-1)
    # a quarter turn counterclockwise: what was right is up
    boxes = torch.where((each & 1) > 0, torch.stack((top, size - right, bottom, size - left), -1), boxes)
    return torch.where((each & 2) > 0, size - boxes.roll(2, -1), boxes)
