"""Arrays in reused memory, for large arrays of the same size.

The system clears new memory page by page; for pixels, this takes a good part of the time of decoding.
"""

import math
import mmap
import weakref
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

PAGE = 2 << 20
"""Bytes of a large page."""

Empty = Callable[[tuple[int, ...], DTypeLike], NDArray[Any]]
"""Returns an array without initialising it, as ``numpy.empty`` and ``Memory.empty`` do."""


class Memory:
    """Returns arrays and reuses the memory of an array when no view of it is left."""

    def __init__(self) -> None:
        """Start without memory."""
        self._free: list[mmap.mmap] = []
        self._taking = Lock()  # returning memory needs no lock and may happen at any time

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array without initialising it."""
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        if not size:
            return np.empty(shape, dtype)
        piece = self._taken(size)
        owner = np.frombuffer(piece, np.uint8, size)  # views keep this array alive
        weakref.finalize(owner, self._free.append, piece).atexit = False
        return owner.view(dtype).reshape(shape)

    def _taken(self, size: int) -> mmap.mmap:
        """Return a free piece of at least ``size`` bytes; if all are smaller, replace the smallest."""
        with self._taking:
            pieces = sorted(self._free, key=len)
            fitting = next((piece for piece in pieces if len(piece) >= size), None)
            if pieces:
                self._free.remove(pieces[0] if fitting is None else fitting)
        return _fresh(size) if fitting is None else fitting


def _fresh(size: int) -> mmap.mmap:
    """Return memory of at least ``size`` bytes outside of the heaps, in large pages if the system has them."""
    alone = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    if size < PAGE:
        return mmap.mmap(-1, size, alone)
    piece = mmap.mmap(-1, -(-size // PAGE) * PAGE, alone)
    with suppress(AttributeError, OSError):  # Python or the kernel may not know them
        piece.madvise(mmap.MADV_HUGEPAGE)
    return piece
