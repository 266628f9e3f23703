"""Files that are whole or not there."""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quadrat.errors import DiskError, QuadratError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What systems say where there is no room: on the disk, in a quota, below a limit of file sizes."""


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write a file or folder to; rename it to ``path`` at a good end.

    After an error, or a kill, ``path`` is what it was before. The temporary name keeps the ending. Raises DiskError
    where there is no room.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}")
    remove(part)
    try:
        with room_for(path):
            yield part
            if path.is_dir():
                remove(path)
            part.replace(path)
    except BaseException:
        remove(part)
        raise


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Let it be told in words where there is no room for ``path``: raise DiskError."""
    try:
        yield
    except QuadratError:
        raise
    except Exception as error:
        if not _full(error):
            raise
        raise DiskError(
            "there is no room for the file",
            file=path,
            got=f"{error}; {shutil.disk_usage(path.parent).free / 1e6:.1f} MB are free there",
            hint="make room on that disk, or raise the quota or limit, and run it again: it goes on from what is there",
        ) from error


def _full(error: Exception) -> bool:
    """Return whether an error says that there is no room; libraries in other languages say it in words alone."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    return any(os.strerror(number) in str(error) for number in FULL)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` with two spaces of indent and a newline at the end; NaN is refused."""
    with replaced(path) as part:
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there; of a link, what it leads to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
