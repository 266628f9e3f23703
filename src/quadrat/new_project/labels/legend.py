"""What labels hold, as a new project takes them: the classes, and the labels' keys in the catalog."""

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quadrat.errors import LabelError
from quadrat.new_project.inputs import Given
from quadrat.runtime.formats.section import composed
from quadrat.tasks.common.classes import NONE, UNFIT

LIMIT = 254
"""Largest number of classes, one less than a task may have: one may be the background."""

BACKGROUND, DARK = "background", "#3c3c3c"
"""Name and colour of the class of all ground without a label, where labels have one class."""


@dataclass(frozen=True)
class Found:
    """A class that labels hold."""

    name: str
    values: tuple[str, ...]
    """Values of the labels that mean it; none if the catalog names the class."""
    color: str

    @property
    def section(self) -> dict[str, Any]:
        """Its section under ``task.classes``."""
        own = {"name": self.name, "color": self.color}
        return own if self.values == (self.name,) else {**own, "from": [*self.values]}


@dataclass(frozen=True)
class Legend:
    """The classes of labels, and what the catalog says of the labels."""

    classes: tuple[Found, ...]
    keys: Mapping[str, Any]
    """The labels' keys in the catalog but for ``path``; the first is ``kind``."""
    notes: tuple[str, ...] = ()
    """What was decided, and needs a look."""
    span: tuple[float, float] | None = None
    """Of values that are no classes, a low and a high one."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(one.name for one in self.classes)

    def entry(self, path: object) -> dict[str, Any]:
        """Return the section of a file's labels in the catalog."""
        return {"kind": self.keys["kind"], "path": str(path), **self.keys}

    def without(self, names: Sequence[str]) -> "Legend":
        """Return the legend without classes that no ground for training has; the labels drop their values."""
        lost = [value for one in self.classes if one.name in names for value in one.values]
        kept = tuple(one for one in self.classes if one.name not in names)
        note = f"left out, because no ground for training has it: {', '.join(names)}"
        keys = {**self.keys, "drop": [*self.keys.get("drop", ()), *lost]}
        return replace(self, classes=kept, keys=keys, notes=(*self.notes, note))

    def with_background(self) -> "Legend":
        """Return the legend of one class with another one for all ground without it."""
        (one,) = self.classes
        note = f"one class alone: all ground without {one.name} is {BACKGROUND}, so each {one.name} must be labelled"
        classes = (one, Found(BACKGROUND, (), DARK))
        return replace(self, classes=classes, keys={**self.keys, "background": BACKGROUND}, notes=(*self.notes, note))


def classes_of(
    counts: Mapping[str, int], file: Given, names: Mapping[str, str], colors: Mapping[str, str]
) -> tuple[Found, ...]:
    """Return a class for each value, in the order of values; names that differ in case only are one class.

    Raises LabelError for too many values.
    """
    if len(counts) > LIMIT:
        frequent = sorted(counts, key=lambda value: -counts[value])[:5]
        raise LabelError(
            "the labels hold too many values to be classes",
            file=file.file,
            expected=f"at most {LIMIT}",
            got=f"{len(counts)}: {', '.join(frequent)}, …",
            hint="name a field with classes by --field; of a raster of values, --task pixel_regression",
        )
    groups: dict[str, list[str]] = {}
    for value in sorted(counts, key=_order):
        groups.setdefault(_named(names.get(value, value)).casefold(), []).append(value)
    return tuple(
        Found(
            name=_named(names.get(values[0], values[0])),
            values=tuple(values),
            color=colors.get(values[0], color(place)),
        )
        for place, values in enumerate(groups.values())
    )


def color(place: int) -> str:
    """Return the colour of a class: hues far from each other."""
    hue, light = (0.10 + place * 0.618034) % 1, (0.85, 0.65)[place // 2 % 2]
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.62, light))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _order(value: str) -> tuple[int, float, str]:
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value


def _named(value: str) -> str:
    """Return a value as the name of a class."""
    name = composed(UNFIT.sub(" ", value)).strip()
    return name if name not in {"", NONE} else "empty"
