"""Writes files completely or not at all, and deletes nothing that the caller did not make."""

import errno
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from quadrat.errors import DiskError, OutputError, QuadratError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, a quota and a limit of file sizes."""

UNSYNCED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""Error numbers of file systems that can't sync a folder."""

ANY = ("**",)
"""Patterns of an output folder whose content the caller has checked."""

LEFT_BEHIND = (".aux.xml", ".qmd", "-journal", "-shm", "-wal")
"""Endings of files that GDAL, QGIS and SQLite leave beside files that they open; also in ``.dvcignore``."""

LITTER = (".part-", ".rows-", ".features-", ".DS_Store", "Thumbs.db")
"""Beginnings of temporary files of a killed run, and files that desktops leave in folders."""

TEMPORARY = (*LEFT_BEHIND, ".tmp")
"""Endings of what other programs leave; DVC leaves the last one when it is interrupted."""

SHOWN = 5
"""Number of files that an error names."""


@contextmanager
def replaced(path: Path, own: Collection[str] = (), *, synced: bool = False) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` for a file or folder; rename it to ``path`` if there is no error.

    After an error or a kill, ``path`` is unchanged. The temporary name has the same ending. Raises DiskError if the
    disk is full, and OutputError if ``path`` is a folder with files that ``own`` does not match (see ``check_own``).

    What records a result is ``synced``: models, bundles, checkpoints, manifests, metrics and tables. It then outlasts a
    power failure. Chips, layers and pictures are not: manifests have hashes of their content, by which a damaged one is
    found and made again.
    """
    check_own(path, own)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}")
    remove(part)
    try:
        with room_for(path):
            yield part
            if synced:
                sync(part)
            if path.is_dir():
                remove(path)
            part.replace(path)
            if synced:
                _sync_one(path.parent)
    except BaseException:
        remove(part)
        raise


def check_own(folder: Path, own: Collection[str]) -> None:
    """Raise OutputError if ``folder`` holds files that no pattern of ``own`` matches: they would be deleted.

    Patterns are paths below the folder. ``*`` stands for a part of a name, a final ``**`` for everything below. Links
    count as files. Temporary files, and what GDAL, QGIS, SQLite and desktops leave, are ignored.
    """
    if ANY[0] in own or not folder.is_dir() or folder.is_symlink():
        return
    foreign = sorted(_foreign(folder, own))
    if foreign:
        more = [f"and {len(foreign) - SHOWN} more"] * (len(foreign) > SHOWN)
        raise OutputError(
            "the output folder holds other files, which would be deleted",
            file=folder,
            expected=f"a new or empty folder, or an earlier output ({', '.join(sorted(own))})" if own else "no folder",
            got=", ".join([*foreign[:SHOWN], *more]),
            hint="move them out of the folder, or name another output folder",
        )


def _foreign(folder: Path, own: Collection[str]) -> Iterator[str]:
    names, patterns = frozenset(own), [pattern for pattern in own if "*" in pattern]
    for at, folders, files in os.walk(folder):
        beginning = f"{at[len(str(folder)) + 1 :].replace(os.sep, '/')}/" if len(at) > len(str(folder)) else ""
        folders[:] = [name for name in folders if not name.startswith(LITTER)]
        for name in [*files, *(name for name in folders if Path(at, name).is_symlink())]:
            path = f"{beginning}{name}"
            left = name.startswith(LITTER) or name.endswith(TEMPORARY)
            if not (left or path in names or any(_matches(path, pattern) for pattern in patterns)):
                yield path


def _matches(path: str, pattern: str) -> bool:
    deep = pattern.endswith("**")
    return (deep or path.count("/") == pattern.count("/")) and fnmatchcase(path, pattern)


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
            got=f"{error}; {_free(path.parent)}",
            hint="make room on that disk, or raise the quota or limit, and run it again: finished parts are kept",
        ) from error


def _full(error: Exception) -> bool:
    """Return whether an error means that there is no room; some libraries say it only in their message."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    return any(os.strerror(number) in str(error) for number in FULL)


def _free(folder: Path) -> str:
    """Return what is free on the disk of ``folder``; some file systems have no limit of files, and count 0."""
    found = os.statvfs(folder)
    if found.f_files and not found.f_favail:
        return "no further files (inodes) are free there: delete files, or pack them"
    return f"{found.f_bavail * found.f_frsize / 1e6:.1f} MB are free there"


def sync(path: Path) -> None:
    """Write a file, or all files of a folder and the folders themselves, from memory to the disk (fsync)."""
    if path.is_dir():
        for one in path.iterdir():
            sync(one)
    _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSYNCED:
            raise
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Mapping[str, Any], *, synced: bool = True) -> None:
    """Write ``content`` as JSON with an indent of two and a final newline; refuse NaN."""
    with replaced(path, synced=synced) as part:
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def remove(path: Path) -> None:
    """Remove a file or folder if it exists; of a link, only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
