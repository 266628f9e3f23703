"""Caches results about files in this process until the files change."""

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, TypeVar

from quadrat.runtime.cache.hashes import stamp_of

Found = TypeVar("Found")

MOST = 100_000
"""Number of files after which the cache is emptied."""


class FileMemo(Generic[Found]):
    """Caches one result per file; errors are not cached."""

    def __init__(self) -> None:
        """Start with an empty cache."""
        self._known: dict[Hashable, Found] = {}

    def of(self, file: Path, find: Callable[[], Found], *about: Hashable) -> Found:
        """Return the cached result of ``find`` for an unchanged file and equal ``about``; else call it."""
        key = (str(file.absolute()), stamp_of(file), *about)
        try:
            return self._known[key]
        except KeyError:
            found = find()
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[key] = found
        return found
