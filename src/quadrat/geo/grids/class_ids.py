"""Class ids of pixels: arrays of bytes in which one value means that there is no class."""

import numpy as np
from numpy.typing import NDArray

IGNORE = 255
"""The class id of pixels that count nowhere: unlabelled, unknown, dropped, without data, or outside the AOI."""


def counting(class_ids: NDArray[np.uint8], counted: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return ``class_ids`` where they are ``counted``, IGNORE elsewhere (of the same shape)."""
    return class_ids | (counted.view(np.uint8) - np.uint8(1))  # IGNORE has all bits; np.where is ten times as slow


def all_known(class_ids: NDArray[np.uint8], classes: int) -> bool:
    """Return whether all ``class_ids`` are below ``classes`` or IGNORE."""
    return int((class_ids + np.uint8(1)).max(initial=0)) <= classes  # IGNORE is followed by 0: two passes
