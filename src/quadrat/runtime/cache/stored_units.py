"""What the shared cache holds: lists its units, and deletes old ones."""

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from quadrat.errors import SharedCacheError
from quadrat.runtime.cache.shared_cache import INDEX, system_of

UNIT = re.compile(r"(chip|predict)/([0-9a-f]{2})/(\2[0-9a-f]{62})/(?:files\.json|[0-9a-f]{32})(?:\.part-[0-9a-f]{32})?")
"""An object's path below the place: stage, two digits, identity, file. Nothing else is ever deleted: other stores of
objects have similar paths, deeper down."""


@dataclass(frozen=True)
class Stored:
    """A unit, or what a killed writer left of one: its objects, their size in bytes, and the age of the newest."""

    paths: tuple[str, ...]
    size: int
    seconds: float


def stored(url: str) -> list[Stored]:
    """Return all units of all stages below ``url``, oldest first; raise SharedCacheError if they can't be listed."""
    system, root = system_of(url)
    try:
        system.invalidate_cache()
        found = system.find(root, detail=True)
    except FileNotFoundError:
        return []
    except Exception as error:
        raise SharedCacheError(
            "the shared cache can't be listed", file=url, got=f"{type(error).__name__}: {error}"
        ) from error
    units: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for path, about in found.items():
        if match := UNIT.fullmatch(path.removeprefix(root).lstrip("/")):
            units.setdefault(match[3] + match[1], []).append((path, about))
    now = time.time()
    return sorted(
        (
            Stored(
                tuple(path for path, _ in objects),
                sum(int(about.get("size") or 0) for _, about in objects),
                now - max(_written(about) for _, about in objects),
            )
            for objects in units.values()
        ),
        key=lambda one: -one.seconds,
    )


def prune(url: str, older: float) -> list[Stored]:
    """Delete the units that were stored more than ``older`` seconds ago, and return them."""
    system, _ = system_of(url)
    gone = [one for one in stored(url) if one.seconds > older]
    for one in gone:
        for path in sorted(one.paths, key=lambda path: not path.endswith(INDEX)):  # the index first: never half a unit
            with suppress(FileNotFoundError):  # another prunes too
                system.rm_file(path)
    return gone


def _written(about: Mapping[str, Any]) -> float:
    """Return when an object was written, s since 1970; stores have different names for it."""
    for key in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = about.get(key)
        if value is not None:
            return float(value.timestamp() if hasattr(value, "timestamp") else value)
    return time.time()
