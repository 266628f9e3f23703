"""Classes of a task."""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from quadrat.runtime.formats.section import Name, Section, composed

NONE = "–"
"""The name for no class in the confusion matrix."""

UNFIT = re.compile("[^ -~\u00a0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that end lines, or are not allowed in XML, in which GDAL stores names."""

Unit = Literal["px", "cells", "boxes", "values"]
"""The unit of labels and counts; it begins the names of columns."""


class Class(Section):
    """A class of a task; its id is its place in the list."""

    name: Name = Field(min_length=1)
    """Its name, in all outputs: different from others in more than case, without control characters."""
    color: str = Field(pattern="^#[0-9a-fA-F]{6}$")
    """Its colour in layers and pictures, as hexadecimal red, green, blue."""
    aliases: tuple[Name, ...] = Field(alias="from", default_factory=lambda known: (known["name"],))
    """Values of the labels that mean this class: of their field, or a raster's numbers or colours; left out: its name.
    Empty if only ``default`` or ``background`` of labels name it."""

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        unfit = UNFIT.search(name)
        if unfit:
            raise ValueError(f"names of classes can't hold the character {unfit[0]!a}: remove it")
        if name != name.strip():
            raise ValueError("names of classes can't start or end with spaces: remove them")
        if name == NONE:
            raise ValueError(f"{NONE} stands for no class in the confusion matrix: choose another name")
        return name

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as (red, green, blue), 0 to 255."""
        red, green, blue = bytes.fromhex(self.color[1:])
        return red, green, blue


def alike(names: Sequence[str]) -> list[str]:
    """Return names that differ only in case, which columns of GeoPackage and files on Windows do not distinguish."""
    groups = defaultdict(list)
    for name in dict.fromkeys(names):
        groups[composed(name.casefold())].append(name)
    return [name for group in groups.values() if len(group) > 1 for name in group]
