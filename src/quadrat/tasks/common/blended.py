"""What is decided of every pixel, of blended outputs: by the processor, or on a device."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.tiling import Blend, Blended
from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.outputs import Features, Rows

if TYPE_CHECKING:
    from torch import Tensor

Decided = Mapping[str, NDArray[Any]]
"""What is decided of some rows, by name; the arrays end with (y, x)."""


class PixelDecisions(ABC):
    """Decides what a scene's layers hold, from top to bottom, of an output that says something of every pixel.

    ``decide`` and ``decide_tensors`` do the same, but for which of two equal values is taken.
    """

    output: ClassVar[str]
    """The output that is blended, (channel, y, x) of each window."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """How many channels the output has."""

    @abstractmethod
    def decide(self, rows: Blended) -> Decided:
        """Return what is decided of finished rows."""

    @abstractmethod
    def decide_tensors(self, values: "Tensor", covered: "Tensor") -> "dict[str, Tensor]":
        """Return the same of blended ``values`` (channel, y, x), where ``covered`` (y, x), on their device."""

    @abstractmethod
    def finish(self, row: int, col: int, decided: Decided) -> Iterator[Rows | Features]:
        """Give the rows and features that come of what is decided from ``row`` and ``col`` on: the next below."""

    def close(self) -> Iterator[Rows | Features]:
        """Give what is left."""
        return iter(())


class BlendedCanvas:
    """A canvas that blends windows and decides on the processor."""

    def __init__(self, decisions: PixelDecisions, area: Window, size: int, stride: int) -> None:
        """Take windows of ``size`` px, ``stride`` px apart, over ``area``."""
        self._decisions = decisions
        self._blend = Blend(area, decisions.channels, size, stride)

    def paste(
        self, window: Window, outputs: Mapping[str, NDArray[np.float32]], valid: NDArray[np.bool_]
    ) -> Iterator[Rows | Features]:
        """Take a window's output (channel, y, x); give the rows and features that it finishes."""
        for rows in self._blend.paste(window, outputs[self._decisions.output], valid):
            yield from self._finish(rows)

    def close(self) -> Iterator[Rows | Features]:
        """Give what is left."""
        for rows in self._blend.close():
            yield from self._finish(rows)
        yield from self._decisions.close()

    def _finish(self, rows: Blended) -> Iterator[Rows | Features]:
        return self._decisions.finish(rows.row, rows.col, self._decisions.decide(rows))
