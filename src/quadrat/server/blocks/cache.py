"""Blocks on disk, as many as fit a number of bytes; the ones that were not used for longest go first."""

import os
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

ENDING = ".block"

PART = ".part-"
"""Beginning of a file that is being written."""


class BlockCache:
    """Files by key in a folder; safe between threads.

    A file is written under another name and renamed, so it is whole or not there. What an earlier server has left is
    used again. Two servers may share a folder: each bounds what it knows of.
    """

    def __init__(self, folder: Path, most: int) -> None:
        """Keep at most ``most`` bytes in ``folder``."""
        self._folder, self._most = folder, most
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        folder.mkdir(parents=True, exist_ok=True)
        found = []
        for file in folder.iterdir():
            with suppress(FileNotFoundError):
                if file.name.startswith(PART):
                    file.unlink()  # of a server that was killed
                elif file.name.endswith(ENDING):
                    status = file.stat()
                    found.append((status.st_mtime_ns, file.name.removesuffix(ENDING), status.st_size))
        for _, key, size in sorted(found):
            self._sizes[key] = size
        self._bytes = sum(self._sizes.values())
        self._shrink()

    @property
    def size(self) -> int:
        """How many bytes the files have."""
        return self._bytes

    def get(self, key: str) -> bytes | None:
        """Return what is kept for ``key``, or None."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            self.drop(key)
            return None
        with suppress(OSError):
            os.utime(path)  # the next server knows by it what was used last
        with self._lock:
            if key in self._sizes:
                self._sizes.move_to_end(key)
            else:  # another server has written it
                self._sizes[key] = len(content)
                self._bytes += len(content)
        return content

    def put(self, key: str, content: bytes) -> None:
        """Keep ``content``, unless the disk is full: then the block is made again when it is needed."""
        if len(content) > self._most:
            return
        part = self._folder / f"{PART}{uuid4().hex}"
        try:
            part.write_bytes(content)
            part.replace(self._path(key))
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            return
        with self._lock:
            self._bytes += len(content) - self._sizes.pop(key, 0)
            self._sizes[key] = len(content)
        self._shrink()

    def drop(self, key: str) -> None:
        """Forget what is kept for ``key``."""
        with self._lock:
            self._bytes -= self._sizes.pop(key, 0)
        with suppress(OSError):
            self._path(key).unlink(missing_ok=True)

    def _shrink(self) -> None:
        gone = []
        with self._lock:
            while self._bytes > self._most:
                key, size = self._sizes.popitem(last=False)
                self._bytes -= size
                gone.append(key)
        for key in gone:
            with suppress(OSError):
                self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{ENDING}"
