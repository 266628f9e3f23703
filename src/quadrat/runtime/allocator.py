"""Settings of glibc's allocator, without which the heaps of many threads grow."""

import ctypes
import os
from contextlib import suppress

NUMBERS = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_MMAP_MAX_": -4, "MALLOC_ARENA_MAX": -8}
"""glibc's names of its settings, and their numbers in malloc.h."""

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
