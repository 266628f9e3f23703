"""Splits images into train, validation and test: whole images, or areas of an image with gaps between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from quadrat.errors import ImageError, LabelError
from quadrat.geo.geometry.footprints import on_earth
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window
from quadrat.new_project.labels.maps import LabelMap
from quadrat.scenes.scene import Split

SHARES: dict[Split, float] = {"train": 0.6, "validation": 0.2, "test": 0.2}
"""Shares of the labels, or of the images."""

PIECES = 5
"""Chips that the labelled part of a divided image needs along its longer side: three areas, and two gaps."""

ROTATIONS = 50
"""Largest number of ways to assign images that are compared."""


@dataclass(frozen=True)
class Area:
    """An area of an image, and its split."""

    labels: LabelMap
    split: Split
    window: Window | None
    """None: the whole image."""

    @property
    def place(self) -> Window:
        """The window, or that of the whole image."""
        return self.window or self.labels.look.grid.area


def images_apart(maps: Sequence[LabelMap]) -> list[list[int]]:
    """Return groups of images, by number, that share no ground with those of other groups."""
    grids = {n: one.look.grid for n, one in enumerate(maps) if one.look.grid.on_earth}
    outlines = np.full(len(maps), None)
    for number, grid in grids.items():  # a little smaller: neighbouring tiles touch
        outlines[number] = shapely.buffer(grid.footprint(grid.area), -0.1 * abs(grid.transform.determinant) ** 0.5)
        outlines[number] = on_earth(outlines[number : number + 1], grid.crs)[0]
    one, other = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    shape = len(maps), len(maps)
    count, labels = connected_components(coo_array((np.ones(len(one)), (one, other)), shape=shape), directed=False)
    return [np.flatnonzero(labels == number).tolist() for number in range(count)]


def whole_images(
    maps: Sequence[LabelMap], groups: Sequence[Sequence[int]], classes: int, margin: int | None
) -> list[Area]:
    """Return whole images by split, such that each split has as many classes as possible.

    With a ``margin``, an image of which only a part has labels is that part and ``margin`` px around it.
    """
    held = [one.counts(one.look.grid.area, classes) for one in maps]
    counts = np.stack([np.sum([held[number] for number in group], axis=0) for group in groups])
    few = max(1, round(SHARES["test"] * len(groups)))
    names = np.array(["train"] * (len(groups) - 2 * few) + ["validation"] * few + ["test"] * few)
    turns = np.unique(np.linspace(0, len(groups) - 1, min(len(groups), ROTATIONS)).astype(int))
    best = max((np.roll(names, turn) for turn in turns), key=lambda some: _worth(counts, some))
    return [
        Area(maps[number], split, None if margin is None else _part(maps[number], margin))
        for group, split in zip(groups, best.tolist(), strict=True)
        for number in group
    ]


def stripes(one: LabelMap, classes: int, chip: int) -> list[Area]:
    """Return three areas of an image side by side, with gaps of a chip between them.

    Of both sides and all orders, it is that in which each split has as many classes as possible. Raises ImageError if
    the labelled part of the image is too small, and LabelError if an area has no label.
    """
    extent = one.extent(chip)
    if max(extent.shape) < PIECES * chip:
        raise ImageError(
            "the labelled part of the image is too small for three areas with gaps",
            file=one.look.files[0].file,
            expected=f"at least {PIECES * chip} × {chip} px",
            got=f"{extent.width} × {extent.height} px",
            hint="label a larger area, or give more images: with three or more, whole images are held out",
        )
    options = [
        dict(zip(order, _cut(one, extent, axis, chip, order), strict=True))
        for axis in sorted((0, 1), key=lambda axis: -extent.shape[axis])
        if extent.shape[axis] >= PIECES * chip
        for order in permutations(SHARES)
    ]
    counted = [np.stack([one.counts(option[split], classes) for split in SHARES]) for option in options]
    best = max(range(len(options)), key=lambda number: _worth(counted[number], np.array([*SHARES])))
    lacking = [split for split, some in zip(SHARES, counted[best], strict=True) if not some.any()]
    if lacking:
        raise LabelError(
            "the labels lie too close together for three areas with gaps",
            file=one.source.path if hasattr(one.source, "path") else None,
            expected=f"labels in three areas, {chip} px apart",
            got=f"none in {', '.join(lacking)}",
            hint="label a larger area, or give more images",
        )
    return [Area(one, split, options[best][split]) for split in SHARES]


def _cut(one: LabelMap, extent: Window, axis: int, chip: int, order: Sequence[Split]) -> list[Window]:
    """Return three windows of an extent along an axis, with shares of the labels as far as the gaps allow it."""
    start, length = (extent.row, extent.height) if axis == 0 else (extent.col, extent.width)
    mass = np.concatenate([[0.0], np.cumsum((one.ids != IGNORE).sum(1 - axis))])
    edges = np.arange(len(mass)) / one.scale[axis] - start
    shares = np.cumsum([SHARES[split] for split in order])[:2]
    first, second = np.interp(shares * mass[-1], mass, edges)
    half = chip // 2
    first = int(np.clip(first, chip + half, length - 3 * chip - half))
    second = int(np.clip(second, first + 2 * chip, length - chip - half))
    spans = [(0, first - half), (first + half, second - half), (second + half, length)]
    if axis == 0:
        return [Window(start + low, extent.col, high - low, extent.width) for low, high in spans]
    return [Window(extent.row, start + low, extent.height, high - low) for low, high in spans]


def _worth(counts: NDArray[np.int64], names: NDArray[np.str_]) -> tuple[bool, int, int, float]:
    """Return how good a split is: labels in all, classes in training and in the rest, and how near to SHARES it is."""
    held = np.stack([counts[names == split].sum(0) for split in SHARES])
    shares = held / np.maximum(held.sum(0), 1)
    off = np.abs(shares - np.array([*SHARES.values()])[:, None]).sum()
    return bool(held.any(1).all()), int((held[0] > 0).sum()), int((held[1:] > 0).sum()), round(-off, 1)


def _part(one: LabelMap, margin: int) -> Window | None:
    """Return the labelled part of an image, or None for all of it."""
    part, whole = one.extent(margin), one.look.grid.area
    return None if part.size > 0.8 * whole.size else part
