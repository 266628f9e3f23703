"""Files that are whole or not there."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write a file or folder to; rename it to ``path`` at a good end.

    After an error, or a kill, ``path`` is what it was before. The temporary name keeps the ending.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}")
    remove(part)
    try:
        yield part
        if path.is_dir():
            remove(path)
        part.replace(path)
    except BaseException:
        remove(part)
        raise


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
