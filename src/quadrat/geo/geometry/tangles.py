"""Refuses polygons on which GEOS would take minutes and gigabytes, because very many of their edges cross.

A real coast of millions of vertices passes: its edges meet hardly any others than their neighbours.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.errors import ShapelyError

MOST_NEAR = 2e7
"""Largest number of edge pairs of a polygon whose bounds meet; about 4 million are compared per second."""

MOST_WORK = 5e6
"""Largest sum of the squared numbers of self-crossings; making valid takes about 1 µs per unit."""

SAMPLE = 5000
"""Number of sampled edges to estimate the pairs of a large polygon."""

FEW = 2 * MOST_NEAR**0.5
"""Polygons with at most this many vertices can't reach MOST_NEAR."""

TRIANGLE = 4
"""Polygons with at most this many vertices can't cross themselves."""


class TangledError(ShapelyError):
    """A polygon would take too long to process."""

    def __init__(self, number: int, problem: str) -> None:
        """Take the polygon's number, from 0, and its problem."""
        super().__init__(number, problem)
        self.number, self.problem = number, problem

    def __str__(self) -> str:
        """Return the feature's number, from 1, and its problem."""
        return f"feature number {self.number + 1}: {self.problem}"


@contextmanager
def numbered(numbers: NDArray[np.intp]) -> Iterator[None]:
    """Make a TangledError name an element of ``numbers`` instead of its index."""
    try:
        yield
    except TangledError as error:
        error.number = int(numbers[error.number])
        raise


def check_jagged(geometry: NDArray[np.object_], numbers: NDArray[np.intp]) -> None:
    """Raise TangledError if too many edges of a polygon are close to each other to check whether it is valid."""
    for place in np.flatnonzero(shapely.get_num_coordinates(geometry) > FEW):
        near = _near(_edges(geometry[place]))
        if near > MOST_NEAR:
            count = shapely.get_num_coordinates(geometry[place])
            told = f"a shape of {count} vertices, with about {near:.2g} pairs of edges close to each other"
            raise TangledError(int(numbers[place]), f"{told}; {MOST_NEAR:.0e} can be processed")


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
    """Return the number of edge pairs whose bounds meet, estimated from a sample."""
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
    """Return how often edges meet others than their neighbours; counting stops above the limit."""
    lines = np.asarray(shapely.linestrings(edges))
    tree, met, most = shapely.STRtree(lines), 0, MOST_WORK**0.5
    for first in range(0, len(lines), 100):
        some = lines[first : first + 100]
        # the edge itself, and its two neighbours
        met += tree.query(some, predicate="intersects").shape[1] - 3 * len(some)
        if met > 2 * most:
            break
    return max(0, met // 2)
