"""Writes files completely or not at all."""

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
"""Error numbers of a full disk, a quota and a limit of file sizes."""


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` for a file or folder; rename it to ``path`` if there is no error.

    After an error or a kill, ``path`` is unchanged. The temporary name has the same ending. Raises DiskError if the
    disk is full.
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
    """Raise DiskError if there is no room for ``path``."""
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
            hint="make room on that disk, or raise the quota or limit, and run it again: finished parts are kept",
        ) from error


def _full(error: Exception) -> bool:
    """Return whether an error means that there is no room; some libraries say it only in their message."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    return any(os.strerror(number) in str(error) for number in FULL)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as JSON with an indent of two and a final newline; refuse NaN."""
    with replaced(path) as part:
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def remove(path: Path) -> None:
    """Remove a file or folder if it exists; of a link, only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
