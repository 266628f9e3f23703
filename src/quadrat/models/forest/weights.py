"""Checks a forest's arrays, because evaluation follows the trees without bounds checks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadrat.errors import ModelError

DEEPEST = 4096
"""Largest number of splits above a leaf; each takes time for every pixel."""

FORMS: Mapping[str, tuple[str, int]] = {
    "roots": ("int64", 1),
    "left": ("int32", 1),
    "right": ("int32", 1),
    "feature": ("int32", 1),
    "threshold": ("float32", 1),
    "votes": ("int32", 2),
}
"""The type and the number of axes of each array."""


def check_forest(weights: Mapping[str, NDArray[Any]], trees: int, features: int, classes: int, ballot: int) -> None:
    """Raise ModelError if arrays (see ``Forest``) are not a forest of so many ``trees``.

    Each node except a root is the child of exactly one earlier node of its tree, so that evaluation ends; splits use
    one of ``features``; each leaf has ``ballot`` votes in all for ``classes``.
    """
    forms = {name: (str(values.dtype), values.ndim) for name, values in weights.items()}
    if forms != FORMS:
        raise _wrong("the arrays", FORMS, forms)
    roots, nodes = weights["roots"], len(weights["left"])
    sizes = np.diff(roots)
    if len(roots) != trees + 1 or roots[0] != 0 or roots[-1] != nodes or (sizes < 1).any():
        raise _wrong("'roots'", f"{trees} trees of {nodes} nodes in all", f"{len(roots)} roots")
    for name in ("right", "feature", "threshold"):
        if len(weights[name]) != nodes:
            raise _wrong(f"'{name}'", f"{nodes} nodes", f"{len(weights[name])}")
    first, size = np.repeat(roots[:-1], sizes), np.repeat(sizes, sizes)
    _check_nodes(weights, np.arange(nodes) - first, size, features)
    _check_depth(weights, first)
    _check_votes(weights["votes"], classes, ballot)


def _check_nodes(
    weights: Mapping[str, NDArray[Any]], number: NDArray[np.int64], size: NDArray[np.int64], features: int
) -> None:
    """Check nodes, given each one's ``number`` (node,) in its tree, and the tree's ``size`` (node,)."""
    left, right, feature = weights["left"], weights["right"], weights["feature"]
    leaf = left == -1
    for name, child in (("left", left), ("right", right)):
        if not np.where(leaf, child == -1, (child > number) & (child < size)).all():
            raise _wrong(f"children in '{name}'", "nodes after their parent, in its tree; -1 at leaves", "others")
    rows = len(weights["votes"])
    if not np.where(leaf, (feature < 0) & (feature >= -rows), (feature >= 0) & (feature < features)).all():
        raise _wrong(
            "'feature'", f"0 to {features - 1}, at leaves -1 to {-rows}", f"{feature.min()} to {feature.max()}"
        )
    if not np.isfinite(weights["threshold"]).all():
        raise _wrong("'threshold'", "numbers", "NaN or infinity")


def _check_depth(weights: Mapping[str, NDArray[Any]], first: NDArray[np.int64]) -> None:
    """Check that each node is reached once, after few splits; the ``first`` node (node,) of its tree is the root."""
    left, right = weights["left"], weights["right"]
    inner = np.flatnonzero(left >= 0)
    children = np.concatenate([left[inner] + first[inner], right[inner] + first[inner]])
    if not np.array_equal(np.sort(children), np.setdiff1d(np.arange(len(left)), weights["roots"][:-1])):
        raise _wrong("children", "each node once", "some never, or more than once")
    level = weights["roots"][:-1]
    for _ in range(DEEPEST):
        level = level[left[level] >= 0]
        if not level.size:
            return
        level = np.concatenate([left[level], right[level]]) + np.tile(first[level], 2)
    raise _wrong("trees", f"{DEEPEST} splits above a leaf at most", "more")


def _check_votes(votes: NDArray[np.int32], classes: int, ballot: int) -> None:
    if votes.shape[1] != classes or (votes < 0).any() or (votes.sum(1, dtype=np.int64) != ballot).any():
        raise _wrong("'votes'", f"{ballot} votes of each leaf, for {classes} classes", f"others, {votes.shape}")


def _wrong(what: str, expected: object, got: object) -> ModelError:
    return ModelError(
        f"the forest can't be evaluated: {what} are invalid",
        expected=expected,
        got=got,
        hint="fetch or train the model again",
    )
