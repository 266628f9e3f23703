"""Hashes of files' contents, remembered, so that a file that stands as it stood is not read again.

They tell one's own files apart, and guard against no adversary: XXH3, of 128 bits, is six times as fast as SHA-256.
"""

import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import xxhash

from quadrat.runtime.files import write_json
from quadrat.runtime.parallel import Threads, cores, results
from quadrat.runtime.progress import track

SETTLED = 2.0
"""Seconds after which a file that was changed again has another time: coarse file systems count in these."""

Stamp = tuple[int, ...]
"""Size in bytes, time of the last change in ns, and inode."""


Hashed = tuple[Stamp, str]
"""How a file stood, and the hash of its content then."""

KIND = "xxh3:"
"""How hashes begin."""

PIECE = 1 << 20
"""Bytes that are read at once."""


def read(path: Path) -> Hashed:
    """Return the hash of a file, and how it stood before it was read."""
    stamp = stamp_of(path)
    digest, piece = xxhash.xxh3_128(), memoryview(bytearray(min(PIECE, stamp[0] + 1)))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(piece):
            digest.update(piece[:count])
    return stamp, KIND + digest.hexdigest()


class Hashes:
    """Hashes of files' contents. ``memory`` is a file of this machine alone: what is lost of it is only time."""

    def __init__(self, memory: Path) -> None:
        """Remember what ``memory`` says; where it is missing or damaged, nothing."""
        self._memory = memory
        self._known: dict[str, Hashed] = {}
        with suppress(OSError, ValueError, TypeError, AttributeError):
            for path, (*stamp, found) in json.loads(memory.read_text(encoding="utf-8")).items():
                if found.startswith(KIND):
                    self._known[path] = tuple(stamp), found

    def of(self, path: Path) -> str:
        """Return the hash of a file's content."""
        known = self._known.get(os.fspath(path))
        if known and known[0] == stamp_of(path):
            return known[1]
        stamp, found = read(path)
        if stamp == stamp_of(path) and stamp[1] < (time.time() - SETTLED) * 1e9:
            self.remember(path, (stamp, found))  # a file changed just now may be changed again and look the same
        return found

    def remember(self, path: Path, found: Hashed) -> None:
        """Remember of a file what ``read`` has found, and nobody has changed since."""
        self._known[os.fspath(path)] = found

    def of_all(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Return the hashes of many files, read side by side."""
        wanted = list(dict.fromkeys(paths))
        found = results(Threads(cores()).map(self.of, wanted))
        return dict(zip(wanted, track(found, "hash", len(wanted), "files"), strict=True))

    def save(self) -> None:
        """Write what is known of files that are still there."""
        known = {path: [*stamp, found] for path, (stamp, found) in sorted(self._known.items()) if os.path.exists(path)}  # noqa: PTH110 many
        write_json(self._memory, known)


def stamp_of(path: Path) -> Stamp:
    """Return how a file stands: another for a file that was changed or replaced."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino
