"""The baseline: a random forest (Breiman 2001) on each pixel's bands and their local means.

Its scores of pixels are bit-identical here and as ONNX, for any number of threads: local means are sums in a fixed
order with one division, thresholds are float32, and leaves hold whole votes, whose sum float32 holds exactly. The score
of a cell is the mean over its pixels, which is rounded.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from quadrat.errors import ChipError
from quadrat.geo.grids.cells import middle
from quadrat.geo.grids.windows import Window
from quadrat.models.common.model import Fitted, Inputs, Model, Outputs, Pixels, Predictor, Recipe, Samples
from quadrat.models.forest.features import features, features_at
from quadrat.models.forest.weights import check_forest
from quadrat.runtime.progress import Meter
from quadrat.tasks.common.classes import Unit
from quadrat.tasks.common.parts import class_loss_of, scoring_of
from quadrat.tasks.common.section import TaskSection

READ = 1 << 18
"""Px of chips read at once."""

BLOCK = 1 << 16
"""Px that go through the trees at once, so that a tree stays in the processor's cache."""


class Forest(Model):
    """A random forest on single pixels with balanced classes. Features: the raw bands, then each band's local mean.

    Weights: ``roots`` (tree + 1), each tree's first node, and the end; for each node ``left`` and ``right``, its
    children by their number in the tree (-1 at a leaf), ``feature``, which it splits on (at a leaf -1 - its row of
    ``votes``), and ``threshold``, float32, the largest value that goes left; ``votes`` (leaf, class), int32, equal
    sums.
    """

    units: ClassVar[frozenset[Unit]] = frozenset({"px", "cells"})

    kind: Literal["forest"]
    trees: int = Field(ge=1, le=1024)
    """Number of trees."""
    radius: int = Field(ge=1, le=64)
    """Local means are over (2 radius + 1)² px, fewer at the edges of chips."""
    max_depth: int | None = Field(default=None, ge=1)
    """Largest number of splits above a leaf; null for no limit."""
    min_samples_leaf: int = Field(default=1, ge=1)
    """Smallest number of training pixels in a leaf."""
    samples: int = Field(ge=1)
    """Largest number of training pixels, drawn from all labelled pixels of the chips."""

    @classmethod
    def serves(cls, task: TaskSection) -> bool:
        """Return whether it can learn this task; each tree votes for one class."""
        return super().serves(task) and task.exclusive

    @property
    def context(self) -> int:
        """The radius, px."""
        return self.radius

    def fit(
        self,
        training: Samples,
        validation: Samples,
        task: TaskSection,
        inputs: Inputs,
        recipe: Recipe,
        checkpoint: Path,
    ) -> Fitted:
        """Fit to pixels drawn without replacement; keeps no ``checkpoint``, because it is fast.

        Raises ChipError if no training pixel is labelled, or a sum of values is infinite.
        """
        from sklearn.ensemble import RandomForestClassifier

        del checkpoint
        table, classes = self._drawn(training, task, inputs, recipe.seed)
        forest = RandomForestClassifier(
            self.trees,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            class_weight="balanced",
            random_state=recipe.seed,
            n_jobs=-1,
        )
        weights = _weights(forest.fit(table, classes), len(task.names), self._ballot)
        predictor = self.restore(weights, task, inputs)
        scoring = scoring_of(task)
        counts = scoring.no_counts()
        for pixels, target in _read(validation, "forest: validation"):
            counts = counts + scoring.chip_counts(target, predictor(pixels))
        measured = {name: value for name, value in counts.summary().items() if not isinstance(value, int)}
        return Fitted(weights, measured, [])

    def restore(self, weights: Mapping[str, NDArray[Any]], task: TaskSection, inputs: Inputs) -> Predictor:
        """Return the forest, ready to predict with all processors, in blocks of pixels.

        Raises ModelError if ``weights`` do not fit.
        """
        from joblib import Parallel, delayed

        check_forest(weights, self.trees, 2 * len(inputs.bands), len(task.names), self._ballot)
        side = class_loss_of(task).pool
        trees = list(_grown(weights, 2 * len(inputs.bands)))

        def fill(scores: NDArray[np.float32], pixels: Pixels, top: int, bottom: int) -> None:
            first = max(0, top - self.radius)
            near = features(pixels[:, first : bottom + self.radius], inputs, self.radius)[:, top - first :]
            near = near[:, : bottom - top]
            table = np.ascontiguousarray(near.reshape(len(near), -1).T)
            votes = np.zeros((len(table), len(scores)), np.int32)
            for tree, leaf_rows in trees:
                votes += weights["votes"].take(leaf_rows.take(tree.apply(table)), axis=0)
            shares = votes.astype(np.float32) / np.float32(self.trees * self._ballot)
            scores[:, top:bottom] = shares.T.reshape(len(scores), *near.shape[1:])

        def predictor(pixels: Pixels) -> Outputs:
            chips, _, height, width = pixels.shape
            scores = np.empty((chips, len(task.names), height, width), np.float32)
            tall = max(1, BLOCK // width)
            blocks = [(chip, top) for chip in range(chips) for top in range(0, height, tall)]
            Parallel(n_jobs=-1, require="sharedmem")(
                delayed(fill)(scores[chip], pixels[chip], top, min(top + tall, height)) for chip, top in blocks
            )
            return {"scores": scores if side is None else _pooled(scores, side)}

        return predictor

    def onnx(self, weights: Mapping[str, NDArray[Any]], task: TaskSection, inputs: Inputs) -> bytes:
        """Return the forest as an ONNX graph of operators that runtimes have long had (opset 17, ai.onnx.ml 3)."""
        from quadrat.models.forest.graph import graph

        side = class_loss_of(task).pool
        return graph(weights, inputs, self.radius, len(task.names), self.trees * self._ballot, side)

    @property
    def _ballot(self) -> int:
        """Number of votes per tree: the largest power of 2 with at most 2²⁴ votes in all."""
        return 1 << 24 - (self.trees - 1).bit_length()

    def _drawn(
        self, samples: Samples, task: TaskSection, inputs: Inputs, seed: int
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return the features (pixel, feature) and classes (pixel,) to learn from, in the chips' order."""
        loss = class_loss_of(task)
        total = loss.labelled_pixels(samples.class_counts(), _chip_pixels(samples))
        if not total:
            raise ChipError("no training chip has a labelled pixel", hint="label a scene of the split 'train'")
        generator = np.random.default_rng(seed)
        ranks = np.sort(generator.choice(total, min(total, self.samples), replace=False, shuffle=False))
        tables, classes, seen = [], [], 0
        for pixels, target in _read(samples, "forest: training"):
            truth = loss.pixel_classes(target, pixels.shape[2:])
            labelled = np.flatnonzero(truth < len(task.names))
            first, last = np.searchsorted(ranks, (seen, seen + labelled.size))
            drawn = labelled[ranks[first:last] - seen]
            seen += labelled.size
            tables.append(features_at(pixels, np.unravel_index(drawn, truth.shape), inputs, self.radius))
            classes.append(truth.ravel()[drawn])
        if seen != total:
            raise ChipError(
                "the chips' index does not fit the chips", expected=total, got=seen, hint="run 'chip' again"
            )
        table = np.concatenate(tables)
        if not np.isfinite(table).all():
            raise ChipError(
                "sums of training pixels are infinite", hint="give their bands a nodata value, or another scale"
            )
        return table, np.concatenate(classes)


def _pooled(scores: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return the means (chip, class) over the square of ``side`` px in the middle of scores (chip, class, y, x)."""
    rows, cols = middle(Window(0, 0, *scores.shape[2:]), side).slices()
    means: NDArray[np.float32] = scores[:, :, rows, cols].mean((2, 3), np.float64).astype(np.float32)
    return means


def _chip_pixels(samples: Samples) -> int:
    return int(samples.read(np.arange(1))[0][0, 0].size) if len(samples) else 1


def _read(samples: Samples, label: str) -> Iterator[tuple[Pixels, dict[str, NDArray[Any]]]]:
    """Yield all chips in order, in batches: pixels (chip, band, y, x) and targets (chip, …) by name."""
    indices = np.arange(len(samples))
    some = max(1, READ // _chip_pixels(samples))
    with Meter(label, len(samples), "chips") as meter:
        for batch in (indices[first : first + some] for first in range(0, len(samples), some)):
            yield samples.read(batch)
            meter.advance(len(batch))


def _weights(forest: Any, classes: int, ballot: int) -> dict[str, NDArray[Any]]:
    """Return a scikit-learn forest as arrays; see ``Forest``."""
    trees = [estimator.tree_ for estimator in forest.estimators_]
    left, right, feature, threshold, shares = (
        np.concatenate([getattr(tree, name) for tree in trees])
        for name in ("children_left", "children_right", "feature", "threshold", "value")
    )
    leaf = left < 0
    below = threshold.astype(np.float32)
    below = np.where(below > threshold, np.nextafter(below, np.float32(-np.inf)), below)  # x <= either is the same
    running = shares[leaf, 0].cumsum(1)
    votes = np.zeros((len(running), classes), np.int32)
    votes[:, forest.classes_] = np.diff(np.rint(running / running[:, -1:] * ballot), prepend=0)
    return {
        "roots": np.cumsum([0, *(tree.node_count for tree in trees)], dtype=np.int64),
        "left": left.astype(np.int32),
        "right": right.astype(np.int32),
        "feature": np.where(leaf, np.negative(np.cumsum(leaf)), feature).astype(np.int32),
        "threshold": np.where(leaf, np.float32(0), below),
        "votes": votes,
    }


def _grown(weights: Mapping[str, NDArray[Any]], count: int) -> Iterator[tuple[Any, NDArray[np.intp]]]:
    """Yield each tree as scikit-learn's, which is the fastest, and the row of ``votes`` of each node."""
    from sklearn.tree._tree import NODE_DTYPE, Tree

    for first, last in pairwise(weights["roots"]):
        nodes = np.zeros(last - first, NODE_DTYPE)
        for ours, theirs in (("left", "left_child"), ("right", "right_child"), ("feature",) * 2, ("threshold",) * 2):
            nodes[theirs] = weights[ours][first:last]
        tree = Tree(count, np.ones(1, np.intp), 1)
        unused = np.zeros((len(nodes), 1, 1))
        tree.__setstate__({"max_depth": 0, "node_count": len(nodes), "nodes": nodes, "values": unused})
        yield tree, -1 - weights["feature"][first:last].astype(np.intp)
