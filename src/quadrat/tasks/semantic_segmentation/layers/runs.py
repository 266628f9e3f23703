"""Finds the runs of equal pixels in a strip of a label raster, which of them touch, and the corners of edges."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from quadrat.tasks.semantic_segmentation.layers.rings import DOWN, LEAVES_VERTICALLY, RIGHT, pack

Integers = NDArray[np.int64]

GRAIN = 2**24
"""Scores are added as integers, in units of 1 / GRAIN, so that sums do not depend on the order."""


@dataclass(frozen=True)
class Runs:
    """A strip below the row above it, flat: a pixel of ``ignore`` precedes each row and follows the last one.

    So every pixel has neighbours at -1, +1 and ± ``stride``, and no run crosses the end of a row.
    """

    flat: NDArray[np.uint8]
    stride: int
    ignore: int
    breaks: NDArray[np.bool_]
    """True where a pixel differs from the one on its left."""
    starts: Integers
    """First pixels of the runs in ``flat``; ``stops`` are one after the last."""
    stops: Integers

    @classmethod
    def of(cls, above: NDArray[np.uint8], labels: NDArray[np.uint8], ignore: int) -> Self:
        """Find the runs of ``labels`` (y, x) and of the row ``above`` (x,)."""
        rows, stride = len(labels) + 1, above.size + 1
        flat = np.full(rows * stride + 1, ignore, np.uint8)
        pixels = flat[:-1].reshape(rows, stride)[:, 1:]
        pixels[0], pixels[1:] = above, labels
        breaks = np.zeros(flat.size, np.bool_)
        np.not_equal(flat[1:], flat[:-1], out=breaks[1:])
        starts = np.flatnonzero(breaks)
        stops = np.append(starts[1:], flat.size)
        counts = flat[starts] != ignore
        return cls(flat, stride, ignore, breaks, starts[counts], stops[counts])

    @property
    def class_id(self) -> NDArray[np.uint8]:
        """The class of each run."""
        return self.flat[self.starts]

    @property
    def carried(self) -> int:
        """The number of runs of the row above the strip."""
        return int(np.searchsorted(self.starts, self.stride))

    @property
    def bottom(self) -> int:
        """The first run of the last row."""
        return int(np.searchsorted(self.starts, self.flat.size - 1 - self.stride))

    def run_at(self, pixel: Integers) -> Integers:
        """Return the runs of pixels that are not ``ignore``."""
        return np.searchsorted(self.starts, pixel, side="right") - 1

    def contacts(self) -> tuple[Integers, Integers]:
        """Return all pairs of touching runs of one class, each once, found where the later run starts."""
        lower = np.arange(self.carried, self.starts.size)
        over = self.starts[lower] - self.stride
        starts_below = self.flat[over] == self.class_id[lower]
        upper = np.arange(self.bottom)
        under = self.starts[upper] + self.stride
        starts_above = (self.flat[under] == self.class_id[upper]) & ~self.breaks[under]
        return (
            np.append(lower[starts_below], upper[starts_above]),
            np.append(self.run_at(over[starts_below]), self.run_at(under[starts_above])),
        )

    def grains(self, scores: NDArray[np.float32]) -> Integers:
        """Return the sums of the strip's runs, in units of 1 / GRAIN."""
        starts, stops = self.starts[self.carried :], self.stops[self.carried :]
        if not starts.size:
            return np.zeros(0, np.int64)
        values = np.zeros(scores.size + 1, np.float32)  # one more, for the stop of the last run
        np.rint(np.multiply(scores.ravel(), GRAIN, out=values[:-1], dtype=np.float32), out=values[:-1])
        pixel = starts - self.stride - starts // self.stride  # without the row above and the columns of ``ignore``
        bounds = np.stack([pixel, pixel + stops - starts], axis=1).ravel()
        sums = np.add.reduceat(values, bounds, dtype=np.float64)[::2]
        if not np.isfinite(sums).all():
            raise ValueError("the scores of labelled pixels must be finite")
        return sums.astype(np.int64)

    def corners(self, row: int, col: int) -> tuple[Integers, Integers]:
        """Return the packed corners on the upper edge of each row of the strip, and the run that each is part of.

        ``row`` and ``col`` are those of the strip's first pixel on the grid. A pixel between two edges that meet has a
        corner there; if there are only these two edges, the other three pixels together have one too.
        """
        stride, size = self.stride, self.flat.size
        differs = np.zeros(size, np.bool_)  # from the pixel above
        np.not_equal(self.flat[stride:], self.flat[:-stride], out=differs[stride:])
        bends = self.breaks[1 : size - stride] | self.breaks[stride + 1 :]
        bends &= differs[stride:-1] | differs[stride + 1 :]
        pixel = np.flatnonzero(bends) + stride + 1  # below and right of the place where four pixels meet
        vertical = self.breaks[pixel - stride], self.breaks[pixel]
        horizontal = differs[pixel - 1], differs[pixel]
        where = pack((pixel - 1) // stride + (row - 1), (pixel - 1) % stride + col)
        found: list[tuple[Integers, Integers]] = []
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            both = vertical[down] & horizontal[right]
            alone = both & ~vertical[1 - down] & ~horizontal[1 - right]
            edges = (DOWN if down else 0) | (RIGHT if right else 0)
            for at, below, beside in ((both, down, right), (alone, 1 - down, 1 - right)):
                inside = pixel[at] - (0 if below else stride) - (0 if beside else 1)
                counts = self.flat[inside] != self.ignore
                leaves = LEAVES_VERTICALLY if below != right else 0
                found.append((where[at][counts] | edges | leaves, inside[counts]))
        corners, pixels = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return corners, self.run_at(pixels)
