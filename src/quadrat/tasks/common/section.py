"""The sections of ``params.yaml`` that each kind of task has: classes and parameters, without computation."""

from abc import ABC
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.plugins.section import Plugin
from quadrat.runtime.formats.section import Name, Section
from quadrat.tasks.common.classes import Class, Unit, alike


class TaskSection(Section, ABC):
    """The section ``task``; the parts in the task's folder do the work (``common.parts``)."""

    unit: ClassVar[Unit]
    """The unit of labels and counts; models support tasks by unit."""
    blanks: ClassVar[bool] = False
    """Whether a place without a label means that nothing is there."""
    matches: ClassVar[bool] = False
    """Whether it needs the section ``eval.match``."""

    kind: str
    classes: tuple[Class, ...] = Field(min_length=1, max_length=IGNORE)
    """The classes, in the order of their ids, from 0."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [c.name for c in self.classes]
        aliases = [alias for c in self.classes for alias in c.aliases]
        for what, values in (("class names", names), ("values under 'from'", aliases)):
            twice = sorted(value for value, count in Counter(values).items() if count > 1)
            if twice:
                raise ValueError(f"{what} must differ: {', '.join(twice)}")
        same = alike(names)
        if same:
            raise ValueError(
                f"class names must differ in more than case, as columns of GeoPackage do: {', '.join(same)}"
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The class names, by id."""
        return tuple(c.name for c in self.classes)

    @property
    def aliases(self) -> dict[str, int]:
        """The class id of each value of the labels."""
        return {alias: number for number, c in enumerate(self.classes) for alias in c.aliases}

    @property
    def columns(self) -> list[str]:
        """The names of columns that count each class, by id."""
        return [f"{self.unit}_{name}" for name in self.names]

    @property
    def exclusive(self) -> bool:
        """Whether classes exclude each other."""
        return True

    def labelled_size(self, window_size: int) -> int:
        """Return the side, px, of the labelled and predicted square in a window's middle: by default its own."""
        return window_size


ClassWeights = dict[Name, Annotated[float, Field(ge=0)]]
"""Weights of classes by name."""


class WeightedLoss(Section):
    """A section ``train.loss`` that weighs the classes: by their shares, or by name."""

    if TYPE_CHECKING:  # each has them in its own place among the keys
        class_balance: float
        class_weights: ClassWeights | None

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.class_weights is not None and self.class_balance:
            raise ValueError("class_weights and class_balance both weigh the classes: set class_balance to 0")
        return self


class PluginLoss(Plugin):
    """A loss of your own, in place of the task's: see [Plugins](plugins.md). Detectors have a loss of their own."""

    units: ClassVar[frozenset[Unit]] = frozenset({"px", "cells", "values"})
    """The kinds of task that it can teach."""
    key: ClassVar[str] = "train.loss"
    role: ClassVar[str] = "loss"

    kind: Literal["plugin"]


class LayersSection(Section):
    """The layers that predict writes: the section ``predict.layers``."""

    kind: str

    def plain(self) -> Self:
        """Return the section with only the layers that eval needs."""
        return self

    def full(self) -> Self:
        """Return the section with all layers."""
        return self

    def shown(self) -> Self:
        """Return the section with the layers that a map shows."""
        return self

    def named(self) -> Sequence[str]:
        """Return the classes that the section names."""
        return ()
