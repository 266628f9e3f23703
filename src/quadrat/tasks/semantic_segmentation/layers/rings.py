"""Links corners to polygons without tracing pixels.

In a rectilinear polygon, consecutive corners in a row (or column) are pairwise the ends of an edge (O'Rourke 1988,
"Uniqueness of orthogonal connect-the-dots"). So sorting the corners gives all edges; edges and corners form a
permutation, whose cycles are the rings.
"""

from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Integers = NDArray[np.int64]

DOWN, RIGHT, LEAVES_VERTICALLY = 1, 2, 4
"""A corner's kind: its vertical edge leads down (else up), its horizontal edge leads right (else left), the ring
leaves it along the vertical edge (else along the horizontal one). Rings run clockwise as seen on screen: the
component lies on their right."""

_KIND_BITS, _COL_BITS = 3, 29


def pack(row: Integers, col: Integers) -> Integers:
    """Return each corner's place as one number, to be combined with its kind by bitwise or."""
    return (row << (_COL_BITS + _KIND_BITS)) | (col << _KIND_BITS)


def polygons(owner: Integers, corners: Integers, count: int) -> NDArray[np.object_]:
    """Return ``count`` polygons, (x, y) = (column, row), from all ``corners`` of polygons 0 to ``count`` - 1.

    ``owner`` (n,) tells the polygon of each of the packed ``corners`` (n,), in any order. Each polygon is a
    4-connected component; if it meets itself at a corner, rings touch each other, but none touches itself.
    """
    row, col = corners >> (_COL_BITS + _KIND_BITS), (corners >> _KIND_BITS) & ((1 << _COL_BITS) - 1)
    top, left = int(row.min()), int(col.min())
    row_bits, col_bits = int(row.max() - top).bit_length(), int(col.max() - left).bit_length()
    if (count - 1).bit_length() + row_bits + col_bits + _KIND_BITS > np.iinfo(np.int64).bits - 1:
        lower = owner < count // 2  # too far apart for one sort key
        parts = (
            (owner[lower], corners[lower], count // 2),
            (owner[~lower] - count // 2, corners[~lower], -(-count // 2)),
        )
        return np.concatenate([polygons(*part) for part in parts])
    key = (((owner << row_bits) | (row - top)) << col_bits) | (col - left)
    key = np.sort((key << _KIND_BITS) | (corners & ((1 << _KIND_BITS) - 1)))
    kind, place = (key & ((1 << _KIND_BITS) - 1)).astype(np.int32), key >> _KIND_BITS
    x, y = place & ((1 << col_bits) - 1), (place >> col_bits) & ((1 << row_bits) - 1)
    tails, heads, following = _edges(kind, place, x)
    order, starts, firsts = _rings(following)
    path = np.stack([tails[order], heads[order]], axis=1).ravel()
    rings = np.append(2 * starts + np.arange(starts.size), path.size + starts.size)
    # a polygon's first ring has its uppermost corner, so it is the shell
    shells = np.searchsorted(place[2 * firsts] >> (row_bits + col_bits), np.arange(count + 1))
    return assembled(np.stack([x[path] + left, y[path] + top], axis=1), rings, shells)


def _edges(
    kind: NDArray[np.int32], place: Integers, x: Integers
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return the first and the last corner of each horizontal edge, and the horizontal edge that follows it.

    Corners are sorted by polygon, row and column; two corners at one place by kind, the left one first.
    """
    narrow = x.astype(np.uint16) if x.max() < 1 << 16 else x  # numpy sorts 16 bits by radix
    by_column = np.argsort(narrow, kind="stable").astype(np.int32)
    # Where a polygon's pixels meet diagonally, rings pass around the other two pixels: so no ring touches itself.
    # Of (up left, down right) this takes the second corner's edge up; of (down left, up right) the order is right.
    places = place[by_column]
    twins = np.flatnonzero(places[1:] == places[:-1])
    twins = twins[kind[by_column[twins]] & (DOWN | RIGHT) == 0]
    by_column[twins], by_column[twins + 1] = by_column[twins + 1], by_column[twins]
    across = np.empty_like(by_column)
    across[by_column[0::2]], across[by_column[1::2]] = by_column[1::2], by_column[0::2]
    tails = np.arange(0, kind.size, 2, dtype=np.int32) + (kind[0::2] & LEAVES_VERTICALLY != 0)
    heads = tails ^ 1
    return tails, heads, across[heads] >> 1


def _rings(following: NDArray[np.int32]) -> tuple[NDArray[np.int32], Integers, NDArray[np.int32]]:
    """Return the edges in the order of the rings, where in it each ring starts, and each ring's first edge."""
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    edges = np.arange(following.size, dtype=np.int32)
    count, ring = connected_components(_graph(following), directed=True, connection="weak")
    firsts = np.empty(count, np.int32)
    firsts[ring[::-1]] = edges[::-1]  # for equal indices, the last one is used
    firsts.sort()
    # One chain of all rings, so that one search visits them in order: each ring's last edge leads to the next ring.
    previous = np.empty_like(following)
    previous[following] = edges
    chain = following.copy()
    chain[previous[firsts]] = np.roll(firsts, -1)
    order = breadth_first_order(_graph(chain), firsts[0], directed=True, return_predecessors=False)
    opens = np.zeros(following.size, np.bool_)
    opens[firsts] = True
    return order, np.flatnonzero(opens[order]), firsts


def _graph(following: NDArray[np.int32]) -> "csr_array":
    from scipy.sparse import csr_array

    size = following.size
    return csr_array((np.ones(size), following, np.arange(size + 1, dtype=np.int32)), shape=(size, size))


def assembled(path: Integers | NDArray[np.float64], rings: Integers, shells: Integers) -> NDArray[np.object_]:
    """Return polygons from the consecutive rings in ``path`` (n, 2), shells first; rings are closed here."""
    coordinates = np.empty((rings[-1], 2), np.float64)
    closing = np.zeros(len(coordinates), np.bool_)
    closing[rings[1:] - 1] = True
    coordinates[~closing] = path
    coordinates[closing] = coordinates[rings[:-1]]
    found: NDArray[np.object_] = shapely.from_ragged_array(shapely.GeometryType.POLYGON, coordinates, (rings, shells))
    return found
