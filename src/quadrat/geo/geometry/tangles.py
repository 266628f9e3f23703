"""Polygons on which geometry would take minutes and gigabytes: those whose edges cross, or nearly do, all over.

A real coast of millions of vertices is none of these: its edges meet their neighbours, and next to no others.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.errors import ShapelyError

MOST_NEAR = 2e7
"""Pairs of edges of a polygon whose bounds may meet: some 4 million are compared in a second."""

MOST_WORK = 5e6
"""Squares of how often polygons cross themselves, added up: making them valid takes about a microsecond for each."""

SAMPLE = 5000
"""Edges by which the pairs of a large polygon are estimated."""

FEW = 2 * MOST_NEAR**0.5
"""Vertices of a polygon that can't have as many pairs, with some to spare."""

TRIANGLE = 4
"""Vertices of a polygon that can't cross itself."""


class TangledError(ShapelyError):
    """A polygon would take too long."""

    def __init__(self, number: int, problem: str) -> None:
        """Say which it is, counted from 0, and what is wrong with it."""
        super().__init__(number, problem)
        self.number, self.problem = number, problem

    def __str__(self) -> str:
        """Return the number of the feature, counted from 1, and what is wrong with it."""
        return f"feature number {self.number + 1}: {self.problem}"


@contextmanager
def numbered(numbers: NDArray[np.intp]) -> Iterator[None]:
    """Let a TangledError tell one of ``numbers`` where it would tell its place among them."""
    try:
        yield
    except TangledError as error:
        error.number = int(numbers[error.number])
        raise


def check_jagged(geometry: NDArray[np.object_], numbers: NDArray[np.intp]) -> None:
    """Raise TangledError if so many edges of a polygon come near each other that none can say if it is valid."""
    for place in np.flatnonzero(shapely.get_num_coordinates(geometry) > FEW):
        near = _near(_edges(geometry[place]))
        if near > MOST_NEAR:
            count = shapely.get_num_coordinates(geometry[place])
            told = f"a shape of {count} vertices, of whose edges about {near:.2g} pairs come near each other"
            raise TangledError(int(numbers[place]), f"{told}; {MOST_NEAR:.0e} can be worked with")


def check_tangled(geometry: NDArray[np.object_], numbers: NDArray[np.intp]) -> None:
    """Raise TangledError if invalid polygons cross themselves so often that making them valid takes minutes."""
    work = 0
    for place in np.flatnonzero(shapely.get_num_coordinates(geometry) > TRIANGLE):
        crossed = _crossed(_edges(geometry[place]))
        work += crossed**2
        if work > MOST_WORK:
            count = shapely.get_num_coordinates(geometry[place])
            told = f"a polygon of {count} vertices crosses itself {crossed} times or more"
            most = f"{int(MOST_WORK**0.5)} times can be repaired, and fewer where many polygons do"
            raise TangledError(int(numbers[place]), f"{told}; {most}")


def _edges(geometry: shapely.Geometry) -> NDArray[np.float64]:
    """Return the edges (n, 2, 2) of a polygon's rings, or of a line."""
    if shapely.get_type_id(geometry) == shapely.GeometryType.POLYGON:
        points, owners = shapely.get_coordinates(shapely.get_rings(geometry), return_index=True)
    else:
        points = shapely.get_coordinates(geometry)
        owners = np.zeros(len(points), np.intp)
    edges: NDArray[np.float64] = np.stack([points[:-1], points[1:]], 1)[owners[:-1] == owners[1:]]
    return edges


def _near(edges: NDArray[np.float64]) -> float:
    """Return how many pairs of edges have bounds that meet, estimated by those of some of them."""
    count = len(edges)
    some = edges[np.random.default_rng(0).permutation(count)[:SAMPLE]]
    low, high = some.min(1), some.max(1)
    met = 0
    for first in range(0, len(some), 500):
        block = slice(first, first + 500)
        meet = (low[:, None, 0] <= high[block, 0]) & (high[:, None, 0] >= low[block, 0])
        meet &= (low[:, None, 1] <= high[block, 1]) & (high[:, None, 1] >= low[block, 1])
        met += int(meet.sum())
    return (met - len(some)) / 2 * (count / len(some)) ** 2


def _crossed(edges: NDArray[np.float64]) -> int:
    """Return how often edges meet others than their neighbours, or a number that is more than enough."""
    lines = np.asarray(shapely.linestrings(edges))
    tree, met, most = shapely.STRtree(lines), 0, MOST_WORK**0.5
    for first in range(0, len(lines), 100):
        some = lines[first : first + 100]
        met += tree.query(some, predicate="intersects").shape[1] - 3 * len(some)  # itself, and one at each end
        if met > 2 * most:
            break
    return max(0, met // 2)
