"""The part ``scoring`` of a task: counts predictions against labels."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.blocks import Blocks
from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.classes import Class
from quadrat.tasks.common.metrics import Counts
from quadrat.tasks.common.outputs import Features, Outlines
from quadrat.tasks.common.part import AnyTask, TaskPart
from quadrat.tasks.common.polygons import PolygonCounts
from quadrat.tasks.common.reliability import Reliability
from quadrat.tasks.common.targets import Target

if TYPE_CHECKING:
    import torch

    from quadrat.tasks.common.truth import Truth


Watch = Callable[[Window, NDArray[np.uint8], NDArray[np.uint8]], None]
"""Is told the true class ids (y, x) of a window that is scored, and the first prediction's; IGNORE where none is."""


class Prediction(Protocol):
    """The predicted layers of a scene, such as ``quadrat.prediction.reader.Prediction``."""

    def class_ids(self, layer: str, window: Window, names: Sequence[str]) -> NDArray[np.uint8]:
        """Return a raster layer's class ids (y, x), IGNORE where there is none, in a window within the grid.

        Raises PredictionError for other classes than ``names``.
        """
        ...

    def values(self, layer: str, window: Window) -> NDArray[np.float32]:
        """Return a raster layer's values (y, x), NaN where there is none, in a window within the grid."""
        ...

    def features(self, layer: str, window: Window | None = None) -> Features:
        """Return a vector layer's features, or those that meet the window."""
        ...

    def drawn(self, layer: str) -> bool:
        """Return whether a raster layer is given as polygons, which are ``features`` then."""
        ...


class TaskScoring(TaskPart[AnyTask]):
    """Scores chips for train, and scenes for eval. ``match`` is the section ``eval.match``."""

    monitor: ClassVar[str]
    """The metric of ``Counts.summary`` by which weights are chosen; larger is better."""
    class_map: ClassVar[str | None] = None
    """The raster layer of class ids that is measured on the ground; None for tasks without one."""
    watch: Watch | None = None
    """Watches how maps of classes are scored."""

    @property
    def painted(self) -> Sequence[Class]:
        """Return the classes of ``label_map`` and ``predicted_map``, with their colours."""
        classes: Sequence[Class] = self.task.classes
        return classes

    @abstractmethod
    def no_counts(self, match: Any = None) -> Counts:
        """Return empty counts."""

    @abstractmethod
    def chip_counts(self, target: Target, outputs: Mapping[str, NDArray[np.float32]]) -> Counts:
        """Count a model's outputs of chips against their targets, both by name and (chip, …)."""

    def tally(
        self, target: Mapping[str, "torch.Tensor"], outputs: Mapping[str, "torch.Tensor"]
    ) -> "torch.Tensor | None":
        """Return what ``chip_counts`` counts as numbers on the tensors' device that add up over batches.

        None where only arrays are counted.
        """
        return None

    def tallied(self, tally: NDArray[Any]) -> Counts:
        """Return the counts of a ``tally``, of one batch or of several added up."""
        raise NotImplementedError

    def score(self, truth: "Truth", predictions: Sequence[Prediction], match: Any = None) -> Sequence[Counts]:
        """Count each prediction of a scene against the truth, where all of them have a prediction.

        Raises PredictionError for predictions of another task.
        """
        scored = self.score_blocks(truth, predictions, Blocks.one(truth.area), match)
        return [self.together(parts.values(), match) for parts in scored]

    def together(self, blocks: Iterable[Any], match: Any = None) -> Counts:
        """Return the counts of the ``blocks`` of a scene as those of the whole scene."""
        return sum(blocks, self.no_counts(match))

    @abstractmethod
    def score_blocks(
        self, truth: "Truth", predictions: Sequence[Prediction], blocks: Blocks, match: Any = None
    ) -> Sequence[Mapping[int, Counts]]:
        """Count each prediction as ``score`` does, each block of the scene by itself.

        Returns counts by the block's number for each prediction; blocks without anything to count are left out, the
        same ones for all predictions.
        """

    def reliability(
        self, truth: "Truth", prediction: Prediction, counts: Counts, match: Any = None
    ) -> Mapping[str, Reliability]:
        """Count how often the probabilities of a scene's prediction are right, by PROBABILITIES.

        ``counts`` are those of the scene. Of maps of classes nothing: ``watch`` sees them.
        """
        return {}

    def polygons(self, truth: "Truth", prediction: Prediction) -> PolygonCounts | None:
        """Match predicted polygons with labelled ones; None where there are none, and for other tasks."""
        return None

    @abstractmethod
    def label_map(self, truth: "Truth", prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return the labels for a picture: class ids (y, x), IGNORE where there is none."""

    @abstractmethod
    def predicted_map(self, prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return the prediction for a picture: class ids (y, x), IGNORE where there is none."""

    def outlines(
        self, truth: "Truth | None", prediction: Prediction, match: Any = None
    ) -> tuple[Outlines, Outlines] | None:
        """Return the outlines of labels and prediction for a picture; None if it shows maps instead."""
        return None
