"""Scores predicted values of pixels against labels."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.blocks import Blocks
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.classes import Class
from quadrat.tasks.common.scoring import Prediction, TaskScoring
from quadrat.tasks.common.targets import Target
from quadrat.tasks.pixel_regression.scoring.errors import Errors, compared
from quadrat.tasks.pixel_regression.section import PixelRegression

if TYPE_CHECKING:
    import torch

    from quadrat.tasks.common.truth import Truth

STEPS = 8
"""Number of steps of the range, each with a colour in pictures; a prediction in the label's step is correct."""

PALEST = 0.15
"""Share of the colour in the lowest step; the rest is white."""


class Scoring(TaskScoring[PixelRegression]):
    """Sums up errors."""

    monitor: ClassVar[str] = "r2"

    @property
    def painted(self) -> tuple[Class, ...]:
        """Return the steps of the range, paler for lower values; the first and the last include all values beyond."""
        (measured,), edges = self.task.classes, np.linspace(*self.task.range, STEPS + 1)
        shares = np.linspace(PALEST, 1, STEPS)
        colors = np.rint(255 - np.outer(shares, 255 - np.array(measured.rgb))).astype(np.uint8)
        names = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)]
        return tuple(
            Class(name=name, color=f"#{color.tobytes().hex()}") for name, color in zip(names, colors, strict=True)
        )

    def no_counts(self, match: None = None) -> Errors:
        """Return empty sums."""
        return Errors()

    def chip_counts(self, target: Target, outputs: Mapping[str, NDArray[np.float32]]) -> Errors:
        """Sum up the errors of ``values`` (chip, 1, y, x) against ``values`` (chip, y, x)."""
        return compared(target["values"], [outputs["values"][:, 0]])[0]

    def tally(
        self, target: Mapping[str, "torch.Tensor"], outputs: Mapping[str, "torch.Tensor"]
    ) -> "torch.Tensor | None":
        """Return sums of the errors of ``values`` (chip, 1, y, x), float64; None where a device has no such numbers."""
        from quadrat.tasks.pixel_regression.scoring.tally import sums

        truth, predicted = target["values"], outputs["values"][:, 0]
        return None if truth.device.type == "mps" else sums(truth, predicted, self._middle)

    def tallied(self, tally: NDArray[np.float64]) -> Errors:
        """Return the errors of a ``tally``."""
        return Errors.tallied(tally, self._middle)

    @property
    def _middle(self) -> float:
        return sum(self.task.range) / 2

    def score_blocks(
        self, truth: "Truth", predictions: Sequence[Prediction], blocks: Blocks, match: None = None
    ) -> list[dict[int, Errors]]:
        """Sum up the errors within the AOI where there are a label and a value in each of ``predictions``."""
        scored: list[dict[int, Errors]] = [{} for _ in predictions]
        for window in truth.windows():
            labelled = np.where(truth.inside(window), truth.labels.values(window), np.float32(np.nan))
            predicted = [prediction.values("values", window) for prediction in predictions]
            for number, here in blocks.parts(window):
                found = compared(labelled[here], [values[here] for values in predicted])
                for parts, errors in zip(scored, found, strict=True):
                    if errors.pixels or errors.unpredicted:
                        parts[number] = parts[number] + errors if number in parts else errors
        return scored

    def label_map(self, truth: "Truth", prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return the steps (y, x) of the labels, IGNORE where unlabelled."""
        return self._steps(truth.labels.values(window))

    def predicted_map(self, prediction: Prediction, window: Window) -> NDArray[np.uint8]:
        """Return the steps (y, x) of the prediction, IGNORE where there is none."""
        return self._steps(prediction.values("values", window))

    def _steps(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        inner = np.linspace(*self.task.range, STEPS + 1)[1:-1]
        steps: NDArray[np.uint8] = np.where(np.isnan(values), IGNORE, np.digitize(values, inner)).astype(np.uint8)
        return steps
