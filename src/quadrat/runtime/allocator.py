"""How glibc keeps what is freed: else heaps that many threads share grow with all that ever went through them."""

import ctypes
import os
from contextlib import suppress

NUMBERS = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_MMAP_MAX_": -4, "MALLOC_ARENA_MAX": -8}
"""glibc's names of its settings, and their numbers in malloc.h."""

_ours: dict[str, str] = {}


def settle(**settings: int) -> None:
    """Set what ``NUMBERS`` names, for this process and those that it starts, unless the user has set any of it."""
    if "GLIBC_TUNABLES" in os.environ or any(os.environ.get(name) != _ours.get(name) for name in NUMBERS):
        return
    _ours.update({name: str(value) for name, value in settings.items()})
    os.environ.update(_ours)
    with suppress(OSError, AttributeError, TypeError):  # another system, another allocator
        for name, value in settings.items():
            ctypes.CDLL(None).mallopt(NUMBERS[name], value)


def begin() -> None:
    """Set what suits all stages."""
    settle(
        MALLOC_ARENA_MAX=max(2, (os.cpu_count() or 1) // 4),  # else eight a core: what threads free lies about
        MALLOC_MMAP_THRESHOLD_=4 << 20,  # else it grows to 32 MB, and strips leave holes in the heaps
        MALLOC_TRIM_THRESHOLD_=32 << 20,
    )


def keep_pieces_apart() -> None:
    """Keep GDAL's blocks, and all as large, in none of the heaps, in which they leave holes."""
    if _ours:
        settle(MALLOC_MMAP_THRESHOLD_=256 << 10)


def keep_all() -> None:
    """Keep all that is freed, where a network asks for the same pieces in every step.

    The system clears what it gives anew, page by page: a fifth of a step.
    """
    if _ours:
        settle(MALLOC_MMAP_MAX_=0, MALLOC_TRIM_THRESHOLD_=(1 << 31) - 1)
