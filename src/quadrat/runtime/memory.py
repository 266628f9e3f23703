"""Reused memory: settings of glibc's allocator, and arrays for large pieces of the same size.

The system clears new memory page by page.
"""

import ctypes
import math
import mmap
import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # NumPy is loaded after what is set here
    from numpy.typing import DTypeLike, NDArray

NUMBERS = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_MMAP_MAX_": -4, "MALLOC_ARENA_MAX": -8}
"""glibc's names of its settings, and their numbers in malloc.h."""

PAGE = 2 << 20
"""Bytes of a large page."""

Empty = Callable[[tuple[int, ...], "DTypeLike"], "NDArray[Any]"]
"""Returns an array without initialising it, as ``numpy.empty`` and ``Memory.empty`` do."""

_ours: dict[str, str] = {}


def settle(**settings: int) -> None:
    """Set options of ``NUMBERS`` for this process and its children, unless the user has set any of them."""
    if "GLIBC_TUNABLES" in os.environ or any(os.environ.get(name) != _ours.get(name) for name in NUMBERS):
        return
    _ours.update({name: str(value) for name, value in settings.items()})
    os.environ.update(_ours)
    with suppress(OSError, AttributeError, TypeError):  # another system, another allocator
        for name, value in settings.items():
            ctypes.CDLL(None).mallopt(NUMBERS[name], value)


def begin() -> None:
    """Set options for all stages."""
    settle(
        MALLOC_ARENA_MAX=max(2, (os.cpu_count() or 1) // 4),  # the default of eight per core keeps freed memory
        MALLOC_MMAP_THRESHOLD_=4 << 20,  # else it grows to 32 MB, and strips leave holes in the heaps
        MALLOC_TRIM_THRESHOLD_=32 << 20,
    )


def keep_pieces_apart() -> None:
    """Allocate GDAL's blocks, and arrays of their size, outside of the heaps, where they leave holes."""
    if _ours:
        settle(MALLOC_MMAP_THRESHOLD_=256 << 10)


def keep_all() -> None:
    """Keep all freed memory for a training, which asks for the same sizes in every step.

    Otherwise the system clears new pages, which takes a fifth of a step.
    """
    if _ours:
        settle(MALLOC_MMAP_MAX_=0, MALLOC_TRIM_THRESHOLD_=(1 << 31) - 1)


class Memory:
    """Returns arrays and reuses the memory of an array when no view of it is left."""

    def __init__(self) -> None:
        """Start without memory."""
        self._free: list[mmap.mmap] = []
        self._taking = Lock()  # returning memory needs no lock and may happen at any time

    def empty(self, shape: tuple[int, ...], dtype: "DTypeLike") -> "NDArray[Any]":
        """Return an array without initialising it."""
        import numpy as np

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
