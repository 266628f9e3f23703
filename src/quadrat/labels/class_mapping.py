"""Maps values of labels (a field's values, a raster's numbers or colours) to class ids."""

from collections.abc import Mapping
from typing import Protocol

from quadrat.errors import LabelError
from quadrat.runtime.formats.section import composed

MOST_SHOWN = 40
"""Number of values that an error lists, the most frequent first."""


class ClassMapping(Protocol):
    """The classes, and the label values of each (every task has this interface)."""

    @property
    def blanks(self) -> bool:
        """Whether labels may have no feature on an image."""
        ...

    @property
    def unit(self) -> str:
        """The unit of labels; ``values`` for labels that are values, not classes."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The class names, by id."""
        ...

    @property
    def aliases(self) -> Mapping[str, int]:
        """The class id of each value of the labels."""
        ...


def class_id(name: str, class_mapping: ClassMapping, key: str, scene: str, file: str) -> int:
    """Return the id of the class that ``key`` of labels names; raise LabelError if there is none."""
    if name not in class_mapping.names:
        raise LabelError(
            "the labels name a class that the task doesn't have",
            scene,
            file,
            expected=", ".join(class_mapping.names),
            got=f"{key}: {name}",
            hint=f"correct '{key}' of the labels in the catalog, or add the class to task.classes in params.yaml",
        )
    return class_mapping.names.index(name)


def unclaimed(counts: Mapping[str, int], unit: str, aliases: Mapping[str, int], scene: str, file: str) -> LabelError:
    """Return the error for values that no class lists; ``counts`` are their numbers of ``unit``."""
    frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{value} ({count} {unit})" for value, count in frequent]
    return LabelError(
        "the labels hold values that no class lists",
        scene,
        file,
        expected=", ".join(sorted(aliases)) or "no values, because no class lists any",
        got=", ".join([*shown[:MOST_SHOWN], *([f"and {len(shown) - MOST_SHOWN} more"] * (len(shown) > MOST_SHOWN))]),
        hint="add each to a class's 'from' in params.yaml, or to the labels' 'drop' in the catalog",
    )


def text(value: object) -> str:
    """Return a field's value as text: whole numbers without a fraction, a missing value as 'null'.

    Text is in Unicode's form NFC, as in the classes.
    """
    import pandas as pd

    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):  # type: ignore[call-overload] # any scalar
        return "null"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else composed(str(value))
