"""Classes: what a task tells apart."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from quadrat.section import Section

IGNORE = 255
"""The class id of what counts nowhere: unlabelled, dropped, without data, or outside the AOI."""

Unit = Literal["px", "cells", "boxes"]
"""What a task labels and counts; the names of columns begin with it."""


def counting(class_ids: NDArray[np.uint8], counted: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return ``class_ids`` where they are ``counted``, IGNORE elsewhere (of the same shape)."""
    return class_ids | (counted.view(np.uint8) - np.uint8(1))  # IGNORE has all bits; np.where is ten times as slow


class Class(Section):
    """A class of a task; its id is its place in the list."""

    name: str = Field(min_length=1)
    """Its name, in all outputs."""
    color: str = Field(pattern="^#[0-9a-fA-F]{6}$")
    """Its colour in layers and pictures, as hexadecimal red, green, blue."""
    aliases: tuple[str, ...] = Field(alias="from")
    """Values of the labels that mean this class: of their field, or a raster's numbers or colours. Empty where only
    ``default`` or ``outside`` of labels name it."""

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as (red, green, blue), 0 to 255."""
        red, green, blue = bytes.fromhex(self.color[1:])
        return red, green, blue
