"""How far errors of a map correlate, and blocks of the ground that are wider than that."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.blocks import MOST, Blocks
from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.metrics import Counts

UNRELATED = 0.1
"""Correlation below which errors count as unrelated."""


@dataclass(frozen=True)
class Scored:
    """The counts of a scene: of each prediction, by its name, and of each block with something to count."""

    scene: str
    blocks: Blocks
    pixel: tuple[float, float] | None
    """Height and width of a pixel, m on the ground; None without a place on Earth. In degrees they differ."""
    counts: Mapping[str, Mapping[int, Counts]]

    def sides(self, unit: str) -> tuple[float, float]:
        """Return height and width of a block, in ``m`` on the ground or in ``px``."""
        height, width = (1, 1) if unit == "px" or self.pixel is None else self.pixel
        return self.blocks.side * height, self.blocks.side * width

    def extent(self, unit: str) -> tuple[float, float]:
        """Return height and width of all blocks together."""
        (rows, cols), (height, width) = self.blocks.shape, self.sides(unit)
        return rows * height, cols * width

    def maps(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return how much is wrong in each block (row, column) of a prediction, and of how much."""
        maps = np.zeros((2, math.prod(self.blocks.shape)))
        for number, counts in self.counts[name].items():
            maps[:, number] = counts.wrong()
        wrong, of = maps.reshape(2, *self.blocks.shape)
        return wrong, of

    def with_class(self, name: str, of: str, class_id: int) -> "Scored":
        """Return the same, and as ``name`` what ``of`` would be with one class everywhere, if that has a meaning."""
        parts = {number: counts.always(class_id) for number, counts in self.counts[of].items()}
        known = {number: counts for number, counts in parts.items() if counts is not None}
        return replace(self, counts={**self.counts, **({name: known} if known else {})})

    def merged(self, steps: tuple[int, int]) -> Iterator[tuple[str, Mapping[str, Counts]]]:
        """Yield the place, and the counts by the prediction's name, of blocks of ``steps``, rows × columns, of these.

        A place is named by their size in px.
        """
        _, across = self.blocks.shape
        size = " × ".join(dict.fromkeys(str(self.blocks.side * step) for step in steps))
        groups: dict[tuple[int, int], dict[str, Counts]] = {}
        for name, parts in self.counts.items():
            for number, counts in sorted(parts.items()):
                row, col = divmod(number, across)
                found = groups.setdefault((row // steps[0], col // steps[1]), {})
                found[name] = found[name] + counts if name in found else counts
        for place in sorted(groups):
            yield f"{self.scene} {size} px {place}", groups[place]


def fine_blocks(area: Window, classes: int) -> Blocks:
    """Return fine blocks, fewer for many classes: counts of pairs of classes are kept of each."""
    return Blocks.of(area, max(64, min(MOST, 2**22 // classes**2)))


def correlation_range(scenes: Sequence[Scored], name: str, unit: str) -> float | None:
    """Return the distance, in ``unit``, from which a prediction's errors are unrelated; None if it exceeds the scenes.

    The correlogram is that of the differences between the share of errors of blocks and of all, weighted by how much
    there is in a block, for pairs of blocks within a scene (Cressie 1993, section 2.4).
    """
    maps = [scene.maps(name) for scene in scenes]
    total = sum(of.sum() for _, of in maps)
    mean = sum(wrong.sum() for wrong, _ in maps) / total
    bin_width = max(max(scene.sides(unit)) for scene in scenes)
    longest = max(math.hypot(*scene.extent(unit)) for scene in scenes)
    bins = np.zeros((2, int(longest / bin_width) + 2))
    for scene, (wrong, of) in zip(scenes, maps, strict=True):
        products, pairs, distance = _lags(wrong - mean * of, of, scene.sides(unit))
        places = np.rint(distance / bin_width).astype(int)
        bins += [np.bincount(places, values, bins.shape[1]) for values in (products, pairs)]
    covariance = bins[0] / np.where(bins[1] > 0, bins[1], np.nan)
    if not covariance[0] > 0:
        return 0.0
    far = np.flatnonzero(~(covariance > UNRELATED * covariance[0]) & (bins[1] > 0))
    return float(far[0] * bin_width) if far.size else None


def _lags(
    wrong: NDArray[np.float64], of: NDArray[np.float64], sides: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return sums of products of ``wrong`` and of ``of`` over all pairs of each lag, and the lag's length.

    ``sides`` are height and width of a block.
    """
    rows, cols = of.shape
    size = 2 * rows - 1, 2 * cols - 1
    down, across = np.meshgrid(np.fft.ifftshift(np.arange(1 - rows, rows)), np.fft.ifftshift(np.arange(1 - cols, cols)))
    powers = [np.abs(np.fft.rfft2(each, size)) ** 2 for each in (wrong, of)]
    products, pairs = (np.fft.irfft2(power, size) for power in powers)
    pairs[pairs < 0.5] = 0  # rounding of the transform
    return products.ravel(), pairs.ravel(), np.hypot(down.T * sides[0], across.T * sides[1]).ravel()
