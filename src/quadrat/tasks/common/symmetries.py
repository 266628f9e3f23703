"""The eight symmetries of the square: quarter turns 0 to 3, and 4 to 7 the same of the transpose."""

from torch import Tensor, rot90, stack


def turn(array: Tensor, symmetry: int) -> Tensor:
    """Return (…, y, x) under a symmetry."""
    return rot90(array.mT if symmetry & 4 else array, symmetry & 3, (-2, -1))


def turn_boxes(boxes: Tensor, symmetry: int, size: int) -> Tensor:
    """Return (…, 4) left, top, right, bottom, in px of a square of ``size`` px, as ``turn`` moves its pixels."""
    left, top, right, bottom = boxes.unbind(-1)
    if symmetry & 4:
        left, top, right, bottom = top, left, bottom, right
    for _ in range(symmetry & 3):  # a quarter turn counterclockwise: what was right is up
        left, top, right, bottom = top, size - right, bottom, size - left
    return stack((left, top, right, bottom), -1)
