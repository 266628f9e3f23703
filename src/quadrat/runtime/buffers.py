"""Arrays on memory that is used again, where the same large pieces are asked for over and over.

What the system gives anew it clears first, page by page: for pixels that are read, a good part of what decoding takes.
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
"""Gives an array of any content: ``numpy.empty`` does, and that of a ``Memory``."""


class Memory:
    """Gives arrays; the memory of one is free for the next as soon as no view of it is left."""

    def __init__(self) -> None:
        """Hold nothing."""
        self._free: list[mmap.mmap] = []
        self._taking = Lock()  # giving back needs none, and may come at any time

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of any content."""
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        if not size:
            return np.empty(shape, dtype)
        piece = self._taken(size)
        owner = np.frombuffer(piece, np.uint8, size)  # views of it hold it, and not what is below it
        weakref.finalize(owner, self._free.append, piece).atexit = False
        return owner.view(dtype).reshape(shape)

    def _taken(self, size: int) -> mmap.mmap:
        """Return a free piece of at least ``size`` bytes; where all are smaller, a new one in place of the smallest."""
        with self._taking:
            pieces = sorted(self._free, key=len)
            fitting = next((piece for piece in pieces if len(piece) >= size), None)
            if pieces:
                self._free.remove(pieces[0] if fitting is None else fitting)
        return _fresh(size) if fitting is None else fitting


def _fresh(size: int) -> mmap.mmap:
    """Return memory of at least ``size`` bytes, of none of the heaps, in large pages where the system has them."""
    alone = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    if size < PAGE:
        return mmap.mmap(-1, size, alone)
    piece = mmap.mmap(-1, -(-size // PAGE) * PAGE, alone)
    with suppress(AttributeError, OSError):  # neither Python nor the kernel needs to know them
        piece.madvise(mmap.MADV_HUGEPAGE)
    return piece
