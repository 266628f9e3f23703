"""The state of input files when a stage began. A later change is an error.

DVC notes the inputs of a stage after it has run. So results of a file that was changed meanwhile would count as results
of the new content.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from quadrat.errors import InputError
from quadrat.runtime.cache.file_memo import FileMemo
from quadrat.runtime.cache.hashes import Stamp, read, stamp_of
from quadrat.runtime.files import LEFT_BEHIND

PASSING = (".qmd", "-journal", "-shm", "-wal")
"""Endings of files that QGIS and SQLite make and remove beside a file that they only read."""

HINT = "nothing that was made of it is recorded; run it again when no program writes the file"


@dataclass(frozen=True)
class Snapshot:
    """The state of files at a moment. It can be sent to other processes."""

    stamps: Mapping[Path, Stamp | None]
    """None for a missing file."""
    hashes: Mapping[Path, str] = field(default_factory=dict)
    """Hashes of files' contents, as far as they are known."""

    @classmethod
    def of(cls, *roots: Path) -> Self:
        """Return the state of files, and of all files in folders, now."""
        return cls({file: state(file) for file in _below(roots)})

    def check(self, scene: str | None = None) -> None:
        """Raise InputError, naming ``scene``, if a file was changed or removed since."""
        for error in self.changes(scene):
            raise error

    def changes(self, scene: str | None = None, listed: Iterable[Path] = ()) -> Iterator[InputError]:
        """Yield an error for each file that was changed or removed since, and for each of ``listed`` that is new.

        A file with another ctime or inode alone (a hard link, a backup, a file system without fixed inodes) is read
        again if its hash is known; without a hash, another ctime is a change, another inode alone is not.
        """
        new = [file for file in listed if file not in self.stamps and not file.name.endswith(PASSING)]
        for file, before in (*self.stamps.items(), *((file, None) for file in new)):
            found = state(file)
            if not self._same(file, before, found):
                yield InputError(
                    "an input was changed while it was read",
                    scene,
                    file,
                    expected=_described(before),
                    got=_described(found),
                    hint=HINT,
                )

    def _same(self, file: Path, before: Stamp | None, now: Stamp | None) -> bool:
        if before is None or now is None or (before.size, before.written) != (now.size, now.written):
            return before == now
        known = self.hashes.get(file)
        if before == now or known is None:
            return before.changed == now.changed
        return _AGAIN.of(file, lambda: read(file)[1]) == known


_AGAIN: FileMemo[str] = FileMemo()
"""Hashes of files that were read again, because one file may belong to many scenes."""


def state(file: Path) -> Stamp | None:
    """Return a file's stamp; None if it is missing."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return stamp_of(file)
    return None


def _below(roots: Iterable[Path]) -> Iterator[Path]:
    """Yield files, and the files in folders but for those that programs leave behind."""
    for root in roots:
        if root.is_dir():
            inner = (file for file in root.rglob("*") if file.is_file())
            yield from (file for file in inner if not file.name.endswith(LEFT_BEHIND))
        else:
            yield root


def _described(stamp: Stamp | None) -> str:
    if stamp is None:
        return "no such file"
    written, changed = (_time(ns) for ns in (stamp.written, stamp.changed))
    return f"{stamp.size} bytes, written {written}, changed {changed}, inode {stamp.inode}"


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(" ", "microseconds")
