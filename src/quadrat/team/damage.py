"""Finds what a killed DVC leaves: a ``dvc.lock`` that is cut short, and files that were being written."""

import re
from collections.abc import Iterator
from pathlib import Path

from quadrat.errors import LockError

LOCK = "dvc.lock"

RESTORE = "DVC was killed while it wrote this file: git checkout HEAD dvc.lock, then dvc repro"

RESOLVE = "a merge left both sides in it: git checkout --ours dvc.lock (or --theirs), then dvc repro"

CONFLICT = re.compile(r"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)

BEING_WRITTEN = re.compile(r"\.[\w-]{22}\.tmp")
"""DVC's names of files that it is writing; also in ``.dvcignore``."""

FOLDERS = ("data", "models", "metrics")
"""Folders in which DVC writes."""


def lock_damage(folder: Path) -> LockError | None:
    """Return an error if ``dvc.lock`` in ``folder`` is cut short or has conflicts; None if it is whole or missing.

    DVC empties the file before it writes it. A file that ends with a whole line can't be told from a shorter pipeline;
    for DVC, the rest has not run.
    """
    file = folder / LOCK
    if not file.is_file():
        return None
    text = file.read_text(encoding="utf-8", errors="replace")
    if CONFLICT.search(text):
        return LockError("dvc.lock has conflicts of a merge", file=file, hint=RESOLVE)
    if "schema:" in text and text.endswith("\n"):
        return None
    got = f"{len(text)} characters, the last line: {text.rpartition(chr(10))[2][:80]!r}" if text else "an empty file"
    return LockError("dvc.lock is cut short", file=file, expected="whole lines", got=got, hint=RESTORE)


def half_written(folder: Path) -> Iterator[Path]:
    """Yield files that a killed DVC has left in ``folder``."""
    for name in FOLDERS:
        yield from (file for file in (folder / name).rglob(".*.tmp") if BEING_WRITTEN.fullmatch(file.name))
