"""What a stage has made of what, scene by scene: so that it makes anew only what changed.

data/manifests/<stage>.json   {"<scene>": {"of": hash of all that it is made of, "files": {name: hash of its content}}}

Files are known by their content: what a manifest says of a folder that was changed, half fetched or taken from
elsewhere is never believed.
"""

import hashlib
import json
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from pydantic_core import to_jsonable_python

from quadrat.errors import DiskError
from quadrat.runtime.cache.code_hash import code_hash
from quadrat.runtime.cache.hashes import Hashed, Hashes, read
from quadrat.runtime.files import remove, write_json
from quadrat.runtime.provenance.origin import installed

LEFT_BEHIND = (".aux.xml", ".qmd", "-journal", "-shm", "-wal")
"""How files end that GDAL, QGIS and SQLite leave beside those that they open; ``.dvcignore`` names them too."""

EVERY = 1.0
"""Seconds between two times that a manifest is written: what a killed stage has made since is made again."""


def identity(stage: str, *parts: str, **made_of: Any) -> str:
    """Return what stands for a thing made by module ``stage``: another for other code, libraries or ``made_of``.

    ``parts`` are modules that it imports by name.
    """
    from rasterio import __gdal_version__

    versions = {"GDAL": __gdal_version__, **installed()}
    content = {"code": code_hash(stage, *parts), "versions": versions, **to_jsonable_python(made_of, by_alias=True)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def files_of(folder: Path) -> dict[str, Hashed]:
    """Return the files of a folder that was just made, by name: for who has made it to call, beside others."""
    return {name: read(folder / name) for name in _names(folder)}


class SceneCache:
    """What a stage made before, and so which of its scenes it must redo. A context manager around its work.

    ``folder`` holds a subfolder for each scene, or several (units, by their path below it). Whatever way the work
    ends, what was done is remembered: an interrupted or failed stage redoes only the rest.
    """

    def __init__(self, folder: Path, manifest: Path, hashes: Path, *, force: bool = False) -> None:
        """Read ``manifest`` and the remembered ``hashes``; with ``force``, redo everything."""
        self.hashes = Hashes(hashes)
        self._path, self._folder, self._force = manifest, folder, force
        self._made_of: dict[str, str] = {}
        self._written, self._changed = 0.0, False
        self._entries: dict[str, dict[str, Any]] = {}
        with suppress(OSError, ValueError, TypeError):  # missing or damaged: nothing is known
            self._entries = dict(json.loads(manifest.read_text(encoding="utf-8")))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the manifest and the hashes."""
        if kind is None:
            self.hashes.save()
            self._save()
            return
        for save in (self.hashes.save, self._save):
            with suppress(OSError, DiskError):  # the disk may be full, and that is reported already
                save()

    def stale(self, made_of: Mapping[str, str]) -> list[str]:
        """Return the units that must be redone: those that are not whole, or not made of just what is given here."""
        self._made_of |= made_of
        return [name for name, of in made_of.items() if self._force or not self._stands(name, of)]

    def done(self, name: str, files: Mapping[str, Hashed]) -> None:
        """Note that a unit, which ``stale`` was asked about, is made: ``files`` is what ``files_of`` says of it."""
        for file, found in files.items():
            self.hashes.remember(self._folder / name / file, found)
        files_now = {file: found for file, (_, found) in files.items()}
        self._entries[name], self._changed = {"of": self._made_of[name], "files": files_now}, True
        if time.monotonic() - self._written > EVERY:
            self._save()

    def remove_others(self, files: Collection[str] = ()) -> None:
        """Forget and remove all units but those that ``stale`` was asked about, and all files but ``files``."""
        kept = {name: entry for name, entry in self._entries.items() if name in self._made_of}
        self._changed |= kept != self._entries
        self._entries = kept
        places = {self._folder / name for name in self._made_of}
        wanted = {*places, *(self._folder / name for name in files)}
        for folder in (self._folder, *places):
            for path in list(folder.iterdir()) if folder.is_dir() else ():
                if path not in wanted and (folder == self._folder or path.is_dir()):
                    remove(path)

    def _stands(self, name: str, of: str) -> bool:
        """Return whether a unit is whole, and made of just that."""
        entry = self._entries.get(name)
        if not isinstance(entry, dict) or entry.get("of") != of:
            return False
        folder = self._folder / name
        files, there = entry.get("files"), set(_names(folder))
        if not isinstance(files, dict) or not there.issuperset(files):
            return False
        if not all(name.endswith(LEFT_BEHIND) for name in there.difference(files)):
            return False
        return all(self.hashes.of(folder / file) == found for file, found in files.items())

    def _save(self) -> None:
        if self._changed or not self._path.exists():
            write_json(self._path, dict(sorted(self._entries.items())))
        self._written, self._changed = time.monotonic(), False


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
