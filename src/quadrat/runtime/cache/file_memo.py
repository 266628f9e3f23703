"""What was found out about files, remembered in this process for as long as they stand as they stood."""

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, TypeVar

from quadrat.runtime.cache.hashes import stamp_of

Found = TypeVar("Found")

MOST = 100_000
"""Files after which all is forgotten."""


class FileMemo(Generic[Found]):
    """Remembers one thing of each file. Nothing is remembered of a look that raises."""

    def __init__(self) -> None:
        """Know nothing."""
        self._known: dict[Hashable, Found] = {}

    def of(self, file: Path, find: Callable[[], Found], *about: Hashable) -> Found:
        """Return what ``find`` found of a file that stands as it does, also ``about`` the same; call it if unknown."""
        key = (str(file.absolute()), stamp_of(file), *about)
        try:
            return self._known[key]
        except KeyError:
            found = find()
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[key] = found
        return found
