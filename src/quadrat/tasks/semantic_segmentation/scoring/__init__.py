"""Scores predicted class ids of pixels against labels."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.blocks import Blocks
from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.metrics import Confusion, Joined, confuse
from quadrat.tasks.common.polygons import PolygonCounts, matching
from quadrat.tasks.common.scoring import Prediction, TaskScoring
from quadrat.tasks.common.targets import Target
from quadrat.tasks.semantic_segmentation.section import SemanticSegmentation

if TYPE_CHECKING:
    import torch

    from quadrat.tasks.common.truth import Truth


class Scoring(TaskScoring[SemanticSegmentation]):
    """Counts pixels by true and predicted class."""

    monitor: ClassVar[str] = "macro_f1"
    class_map: ClassVar[str | None] = "labels"

    def no_counts(self, match: None = None) -> Confusion:
        """Return counts of no pixel."""
        return Confusion.none(len(self.task.classes))

    def chip_counts(self, target: Target, outputs: Mapping[str, NDArray[np.float32]]) -> Confusion:
        """Count ``scores`` (chip, class, y, x) against ``classes`` (chip, y, x)."""
        predicted = outputs["scores"].argmax(1).astype(np.uint8)
        return confuse(target["classes"], [predicted], len(self.task.classes))[0]

    def tally(self, target: Mapping[str, "torch.Tensor"], outputs: Mapping[str, "torch.Tensor"]) -> "torch.Tensor":
        """Return the confusion of ``scores`` and ``classes``."""
        from quadrat.tasks.common.tally import confused

        return confused(target["classes"], outputs["scores"])

    def tallied(self, tally: NDArray[np.int64]) -> Confusion:
        """Return the counts of a ``tally``."""
        return Confusion.tallied(tally)

    def score_blocks(
        self, truth: "Truth", predictions: Sequence[Prediction], blocks: Blocks, match: None = None
    ) -> list[dict[int, Confusion]]:
        """Count the pixels within the AOI that have a label and a class in each of ``predictions``."""
        scored: list[dict[int, Confusion]] = [{} for _ in predictions]
        for window in truth.windows():
            classes = truth.scene.within(window, self._labelled(truth, window))
            predicted = [self.predicted_map(prediction, window) for prediction in predictions]
            if self.watch is not None:
                self.watch(window, classes, predicted[0])
            joined = Joined.of(classes, predicted, len(self.task.classes))
            for number, here in blocks.parts(window):
                for parts, counts in zip(scored, joined.counts(here), strict=True):
                    if counts.matrix.any() or counts.unpredicted.any():
                        parts[number] = parts[number] + counts if number in parts else counts
        return scored

    def polygons(self, truth: "Truth", prediction: Prediction) -> PolygonCounts | None:
        """Match polygons with labelled areas; without a field ``score``, the first of several counts first."""
        if not prediction.drawn("labels") or not truth.labels.drawn:
            return None
        return matching(truth, prediction.features("labels"), self.task.names)

    def label_map(self, truth: "Truth", prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return the labels' class ids (y, x), IGNORE where unlabelled."""
        return self._labelled(truth, window)

    def predicted_map(self, prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return the predicted class ids (y, x), IGNORE where there is none."""
        return prediction.class_ids("labels", window, self.task.names)

    def _labelled(self, truth: "Truth", window: Window) -> NDArray[np.uint8]:
        return truth.labels.class_ids(window, all_touched=self.task.all_touched)
