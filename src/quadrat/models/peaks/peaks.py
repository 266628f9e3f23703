"""The baseline of detectors: boxes of the mean size on local maxima of greenness or brightness."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from quadrat.errors import ChipError, ModelError
from quadrat.geo.sources.bands import is_valid, names_of
from quadrat.models.common.model import Fitted, Inputs, Kind, Outputs, Pixels, Predictor, Recipe, Samples, Sizes
from quadrat.runtime.progress import Meter
from quadrat.tasks.common.classes import Unit
from quadrat.tasks.common.parts import scoring_of
from quadrat.tasks.common.section import TaskSection

REACH = 4.0
"""Radius of the smoothing kernel, in standard deviations."""

RIGHT = 0.5
"""IoU from which a box on a peak is correct."""

KNOTS = 101
"""Number of heights between which scores from 0 to 1 are interpolated."""

AT_ONCE = 1 << 20
"""Px of chips read at once."""


class Peaks(Kind):
    """A box of the mean size, of the most frequent class, on each local maximum of a sum of normalised bands.

    A score is a peak's rank among the training chips' peaks: 0.5 is the height with the best F1 there.
    Weights: ``class_id`` (1,); ``sides`` (2,), mean width and height of its boxes, px; ``heights`` (KNOTS,) for scores
    from 0 to 1.
    """

    units: ClassVar[frozenset[Unit]] = frozenset({"boxes"})

    kind: Literal["peaks"]
    bands: Mapping[str, float] = Field(min_length=1)
    """Weights of the bands, by name, after normalisation to mean 0 and deviation 1: ``{green: 2, red: -1, blue: -1}``
    is greenness; weights of 1 are brightness."""
    smoothing: float = Field(gt=0)
    """Standard deviation of the Gaussian smoothing, px."""
    distance: int = Field(ge=1)
    """A peak is the highest of all px within this distance in x and y, px."""

    @property
    def context(self) -> int:
        """Radius of the neighbourhood, px: that of the peak plus that of the smoothing."""
        return self.distance + math.ceil(REACH * self.smoothing)

    def check(self, task: TaskSection, inputs: Inputs, sizes: Sizes) -> None:
        """Raise ModelError for a band that the model does not take."""
        del task, sizes
        self._weights(inputs)

    def fit(
        self,
        training: Samples,
        validation: Samples,
        task: TaskSection,
        inputs: Inputs,
        recipe: Recipe,
        checkpoint: Path,
    ) -> Fitted:
        """Measure boxes and rank peaks, without randomness; keeps no ``checkpoint``, because it is fast.

        Raises ChipError if no training chip holds a box of a class.
        """
        del recipe, checkpoint
        class_id = int(training.class_counts().argmax())
        sides = _mean_sides(training, class_id)
        heights, right = self._ranked(training, class_id, sides, inputs)
        weights: dict[str, NDArray[Any]] = {
            "class_id": np.array([class_id], np.uint8),
            "sides": sides,
            "heights": _knots(heights, right, int(training.class_counts()[class_id])),
        }
        predictor = self.restore(weights, task, inputs)
        scoring = scoring_of(task)
        counts = scoring.no_counts()
        for pixels, target in _read(validation, "peaks: validation"):
            counts = counts + scoring.chip_counts(target, predictor(pixels))
        measured = {name: value for name, value in counts.summary().items() if not isinstance(value, int)}
        return Fitted(weights, measured, [])

    def restore(self, weights: Mapping[str, NDArray[Any]], task: TaskSection, inputs: Inputs) -> Predictor:
        """Return the predictor: one location per square of ``distance`` + 1 px, with a score of 0 without a peak."""
        scale = np.linspace(0, 1, KNOTS)

        def predictor(pixels: Pixels) -> Outputs:
            found = [self._peaks(chip, inputs) for chip in pixels]
            heights = np.stack([height for height, _ in found])
            scores = np.zeros((*heights.shape, len(task.classes)), np.float32)
            scores[..., weights["class_id"][0]] = np.interp(heights, weights["heights"], scale, left=0)
            boxes = np.stack([_boxes(places, weights["sides"], pixels.shape[2:]) for _, places in found])
            return {"scores": scores, "boxes": boxes}

        return predictor

    def _ranked(
        self, samples: Samples, class_id: int, sides: NDArray[np.float32], inputs: Inputs
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the heights (peak,) of all chips' valid peaks, and for which of them a box is correct."""
        from quadrat.tasks.object_detection.targets.detections import Detections
        from quadrat.tasks.object_detection.targets.matching import Seen, matched

        heights, right = [], []
        for pixels, target in _read(samples, "peaks: training"):
            for chip, labels in zip(pixels, target["boxes"], strict=True):
                height, places = self._peaks(chip, inputs)
                there = np.isfinite(height)
                boxes = _boxes(places[there], sides, chip.shape[1:]).astype(np.float64)
                found = Detections(boxes, np.full(len(boxes), class_id, np.uint8), height[there])
                known = labels[np.isfinite(labels).all(1)]
                matches = matched(Seen(known[:, :4].astype(np.float64), known[:, 4].astype(np.uint8), found), RIGHT)
                heights.append(height[there][~matches.absorbed])
                right.append((matches.truth >= 0)[~matches.absorbed])
        return np.concatenate(heights), np.concatenate(right)

    def _peaks(self, pixels: NDArray[Any], inputs: Inputs) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return heights (location,), -inf without a peak, and places (location, 2), x and y of pixel centres.

        Peaks are more than ``distance`` apart, so a square of one px more has at most one; of equal heights, the first
        is taken.
        """
        from scipy.ndimage import maximum_filter

        surface = self._surface(pixels, inputs)
        highest = maximum_filter(surface, 2 * self.distance + 1, mode="constant", cval=-np.inf)
        peaks = np.where(surface == highest, surface, np.float32(-np.inf))
        side = self.distance + 1
        rows, cols = (-(-length // side) for length in peaks.shape)
        whole = np.full((rows * side, cols * side), -np.inf, np.float32)
        whole[: peaks.shape[0], : peaks.shape[1]] = peaks
        squares = whole.reshape(rows, side, cols, side).swapaxes(1, 2).reshape(rows * cols, side * side)
        best = squares.argmax(1)
        y, x = np.divmod(best, side)
        row, col = np.divmod(np.arange(rows * cols), cols)
        places = np.stack([col * side + x, row * side + y], 1).astype(np.float32) + np.float32(0.5)
        return squares.max(1), places

    def _surface(self, pixels: NDArray[Any], inputs: Inputs) -> NDArray[np.float32]:
        """Return the smoothed sum (y, x) of pixels (band, y, x); -inf where a band has no value.

        For time series, it is the mean over the dates with values.
        """
        from scipy.ndimage import gaussian_filter

        sums = [self._sum(some, inputs) for some in np.split(pixels, max(1, inputs.dates))]
        seen = np.stack([known for _, known in sums])
        valid = np.logical_or.reduce(seen)
        total = np.stack([total for total, _ in sums]).sum(0, where=seen) / np.maximum(seen.sum(0), 1)
        kind = {"sigma": self.smoothing, "mode": "constant", "truncate": REACH}
        near = gaussian_filter(valid.astype(np.float64), **kind)
        smooth = gaussian_filter(np.where(valid, total, 0), **kind) / np.where(valid, near, 1)
        surface: NDArray[np.float32] = np.where(valid, smooth, -np.inf).astype(np.float32)
        return surface

    def _sum(self, pixels: NDArray[Any], inputs: Inputs) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the sum (y, x) of one date's pixels (band, y, x), and where all bands of it have a value."""
        total = np.zeros(pixels.shape[1:])
        valid = np.ones(pixels.shape[1:], np.bool_)
        for values, band, statistics in zip(pixels, inputs.bands, inputs.statistics, strict=False):
            if weight := self._weights(inputs).get(band.name):
                known = is_valid(values, band)
                total += weight * (np.where(known, values, statistics.mean) - statistics.mean) / (statistics.std or 1)
                valid &= known
        return total, valid

    def _weights(self, inputs: Inputs) -> Mapping[str, float]:
        unknown = sorted({*self.bands} - {band.name for band in inputs.bands})
        if unknown:
            raise ModelError(
                "the baseline has bands that the model does not take",
                expected=", ".join(names_of(inputs.bands)),
                got=", ".join(unknown),
                hint="name others in 'baseline.bands' in params.yaml, or add these to 'bands'",
            )
        return self.bands


def _read(samples: Samples, label: str) -> Iterator[tuple[Pixels, dict[str, NDArray[Any]]]]:
    """Yield all chips in order, in batches: pixels (chip, band, y, x) and targets (chip, …) by name."""
    size = samples.read(np.arange(1))[0][0, 0].size if len(samples) else 1
    some = max(1, AT_ONCE // size)
    with Meter(label, len(samples), "chips") as meter:
        for first in range(0, len(samples), some):
            batch = np.arange(first, min(first + some, len(samples)))
            yield samples.read(batch)
            meter.advance(len(batch))


def _mean_sides(samples: Samples, class_id: int) -> NDArray[np.float32]:
    """Return the mean width and height of a class's boxes, px."""
    total, count = np.zeros(2), 0
    for _, target in _read(samples, "peaks: boxes"):
        boxes = target["boxes"][target["boxes"][..., 4] == class_id].astype(np.float64)
        total += (boxes[:, 2:4] - boxes[:, :2]).sum(0)
        count += len(boxes)
    if not count:
        raise ChipError("no training chip holds a box", hint="label a scene of the split 'train'")
    sides: NDArray[np.float32] = (total / count).astype(np.float32)
    return sides


def _knots(heights: NDArray[np.float32], right: NDArray[np.bool_], objects: int) -> NDArray[np.float32]:
    """Return the heights (KNOTS,) of scores from 0 to 1: equal shares of peaks on either side of the best F1.

    ``right`` (peak,) tells which of the peaks of ``heights`` find one of the ``objects``.
    """
    if not len(heights):
        raise ChipError("no training chip has a valid pixel", hint="check nodata in the catalog")
    order = np.argsort(-heights, kind="stable")
    f1 = 2 * right[order].cumsum() / (np.arange(1, len(heights) + 1) + objects)
    share = float((heights < heights[order[f1.argmax()]]).mean())
    half = KNOTS // 2
    ranks = np.concatenate([np.linspace(0, share, half, endpoint=False), np.linspace(share, 1, half + 1)])
    knots: NDArray[np.float32] = np.quantile(heights.astype(np.float64), ranks).astype(np.float32)
    return knots


def _boxes(places: NDArray[np.float32], sides: NDArray[np.float32], window: tuple[int, ...]) -> NDArray[np.float32]:
    """Return boxes (…, 4) with these ``sides`` around ``places`` (…, 2), cut at the edges of a window (height, width).

    As labels are: a whole box would overlap what is left of an object by too little.
    """
    whole = np.concatenate([places - sides / 2, places + sides / 2], -1)
    cut: NDArray[np.float32] = np.clip(whole, 0, np.array([*window[::-1], *window[::-1]], np.float32))
    return cut
