"""Records the inputs and outputs of each scene of a stage, so that only changed scenes are redone.

data/manifests/<stage>.json   {"<scene>": {"of": hash of all inputs, "files": {name: hash of its content}}}
                              and of predict {".": {"inputs": DVC's hashes of its inputs when it last began}}

Output files are compared by content, so a folder that was changed, partly fetched or copied is noticed.
"""

import hashlib
import json
import os
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path, PurePosixPath
from typing import Any, Self

from pydantic_core import to_jsonable_python

from quadrat.errors import DiskError
from quadrat.runtime.cache.code_hash import code_hash
from quadrat.runtime.cache.hashes import Hashed, Hashes, read, stamp_of
from quadrat.runtime.cache.shared_cache import SharedCache
from quadrat.runtime.cache.surroundings import surroundings
from quadrat.runtime.files import LEFT_BEHIND, check_own, remove, write_json
from quadrat.runtime.parallel import Threads, results
from quadrat.runtime.progress import track
from quadrat.runtime.provenance.origin import installed

WHOLE = "."
"""The unit of what all scenes have together."""

UPLOADS = 4
"""Units that go to or come from the shared cache at once."""

EVERY = 1.0
"""Least seconds between writes of a manifest; a killed stage repeats what it made since the last one."""

SHARE = 0.05
"""Largest share of the time that goes into these writes, which take longer the more units there are."""


def identity(stage: str, *parts: str, **inputs: Any) -> str:
    """Return a hash of the code of module ``stage``, the versions of libraries, the surroundings, and ``inputs``.

    ``parts`` are modules that it imports by name.
    """
    from rasterio import __gdal_version__

    versions = {"GDAL": __gdal_version__, **installed()}
    content = {"code": code_hash(stage, *parts), "versions": versions, **to_jsonable_python(inputs, by_alias=True)}
    content |= {"surroundings": surroundings()} if surroundings() else {}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def files_of(folder: Path) -> dict[str, Hashed]:
    """Return the files of a new folder by name, with their hashes; workers call it in parallel."""
    return {name: read(folder / name) for name in _names(folder)}


class SceneCache:
    """Finds the scenes that a stage must redo. A context manager around its work.

    ``folder`` holds one or several subfolders (units) per scene, named by their path below it. Finished units are
    recorded even after an error: an interrupted or failed stage redoes only the rest.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Path,
        hashes: Path,
        *,
        force: bool = False,
        shared: SharedCache | None = None,
    ) -> None:
        """Read ``manifest`` and the cached ``hashes``; with ``force``, redo everything.

        Units are taken from the cache that machines ``shared``, and offered to it.
        """
        if shared is not None:
            shared.check_outside(folder)
        self.hashes = Hashes(hashes)
        self._path, self._folder, self._force, self._shared = manifest, folder, force, shared
        self._uploads = ThreadPoolExecutor(UPLOADS)
        self._inputs: dict[str, str] = {}
        self._next, self._changed = 0.0, False
        self._entries: dict[str, dict[str, Any]] = {}
        with suppress(OSError, ValueError, TypeError):  # missing or damaged: start empty
            self._entries = dict(json.loads(manifest.read_text(encoding="utf-8")))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the manifest and the hashes, when the last unit is in the shared cache."""
        self._uploads.shutdown(cancel_futures=kind is not None and not issubclass(kind, Exception))
        if kind is None:
            self.hashes.save()
            self._save()
            return
        for save in (self.hashes.save, self._save):
            with suppress(OSError, DiskError):  # the disk may be full, which is already reported
                save()

    def stale(self, inputs: Mapping[str, str]) -> list[str]:
        """Return the units that must be redone: incomplete ones, and those with other ``inputs`` (hash by unit)."""
        self._inputs |= inputs
        return [name for name, of in inputs.items() if self._force or not self._current(name, of)]

    def fetch(self, names: Sequence[str]) -> list[str]:
        """Take units of ``stale`` from the shared cache; return those that it lacks, in order."""
        if self._shared is None or self._force or not names:
            return list(names)
        lacking = []
        with closing(results(Threads(UPLOADS).map(self._fetched, names))) as found:
            for name, files in zip(names, track(found, "fetch", len(names), "scenes"), strict=True):
                if files is None:
                    lacking.append(name)
                else:
                    self._record(name, files)
        return lacking

    def done(self, name: str, files: Mapping[str, Hashed], *, made: bool = True) -> None:
        """Record a finished unit, and share it if it was ``made`` now; ``files`` is the result of ``files_of``."""
        self._record(name, files)
        if made and self._shared is not None and name != WHOLE:
            of, contents = self._entries[name]["of"], self._entries[name]["files"]
            self._uploads.submit(self._shared.offer, of, self._folder / name, contents)

    def _record(self, name: str, files: Mapping[str, Hashed]) -> None:
        for file, found in files.items():
            self.hashes.remember(self._folder / name / file, found)
        files_now = {file: found for file, (_, found) in files.items()}
        self._entries[name], self._changed = {"of": self._inputs[name], "files": files_now}, True
        if time.monotonic() > self._next:
            self._save()

    def _fetched(self, name: str) -> Mapping[str, Hashed] | None:
        """Put the files of a unit of the shared cache in the place of what is there, and return them, if it has it."""
        assert self._shared is not None
        place = self._folder / name
        part = self._folder / f".part-{name.replace('/', '-')}"
        remove(part)
        try:
            files = self._shared.fetch(self._inputs[name], part)
            if files is None:
                return None
            place.mkdir(parents=True, exist_ok=True)
            for old in _names(place):
                (place / old).unlink()
            for file in files:
                (part / file).rename(place / file)
        finally:
            remove(part)
        return {file: (stamp_of(place / file), found) for file, found in files.items()}

    def check_own(self, own: Collection[str]) -> None:
        """Raise OutputError if the folder holds files that the stage did not make, and would delete.

        ``own`` are patterns of its files (see ``files.check_own``), for units that a killed stage has not recorded.
        """
        recorded = [(name, self._files(name)) for name in self._entries]
        known = {str(PurePosixPath(name, file)) for name, files in recorded for file in files}
        check_own(self._folder, {*own, *known})

    def remove_others(self, files: Collection[str] = ()) -> None:
        """Remove all units except those passed to ``stale``, and all files except ``files``; after ``check_own``."""
        kept = {name: entry for name, entry in self._entries.items() if name in self._inputs or name == WHOLE}
        self._changed |= kept != self._entries
        self._entries = kept
        places = {self._folder / name for name in self._inputs}
        known = {*places, *(self._folder / name for name in files)}
        for folder in (self._folder, *places):
            for entry in _entries(folder):
                if (folder == self._folder or entry.is_dir()) and folder / entry.name not in known:
                    remove(folder / entry.name)

    def note(self, inputs: Mapping[str, str | None] | None) -> None:
        """Record DVC's hashes of the inputs of which all units are now; None if they are unknown."""
        told = {WHOLE: {"inputs": dict(inputs)}} if inputs else {}
        self._changed |= self._entries.get(WHOLE) != told.get(WHOLE)
        self._entries = {name: entry for name, entry in self._entries.items() if name != WHOLE} | told

    def _current(self, name: str, of: str) -> bool:
        """Return whether a unit is complete and made of these inputs."""
        entry: Any = self._entries.get(name)
        if not isinstance(entry, dict) or entry.get("of") != of or not isinstance(entry.get("files"), dict):
            return False
        folder, files = self._folder / name, self._files(name)
        there = set(_names(folder))
        if not there.issuperset(files):
            return False
        if not all(name.endswith(LEFT_BEHIND) for name in there.difference(files)):
            return False
        return all(self.hashes.of(folder / file) == found for file, found in files.items())

    def _files(self, name: str) -> Mapping[str, Any]:
        """Return the recorded files of a unit; none where the manifest is damaged."""
        entry: Any = self._entries[name]
        files = entry.get("files") if isinstance(entry, dict) else None
        return files if isinstance(files, dict) else {}

    def _save(self) -> None:
        begun = time.monotonic()
        if self._changed or not self._path.exists():
            write_json(self._path, dict(sorted(self._entries.items())))
        ended = time.monotonic()
        self._next, self._changed = ended + max(EVERY, (ended - begun) / SHARE), False


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in _entries(folder) if entry.is_file())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, which tells without another question to the file system whether it is a file."""
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []
