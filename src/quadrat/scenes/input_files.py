"""The input files of scenes, with the files that belong to them, as they were when a stage began."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from quadrat.errors import InputError, QuadratError
from quadrat.geo.sources.channel import is_remote
from quadrat.runtime.cache.hashes import Hashes
from quadrat.runtime.cache.snapshot import Snapshot, state
from quadrat.runtime.failures import raise_all
from quadrat.scenes.companion_files import Belongings
from quadrat.scenes.scene import Scene

MAPPED = "-shm"
"""Ending of the file beside a GeoPackage that SQLite also writes when it only reads."""


@dataclass(frozen=True)
class InputFiles:
    """The files of a scene at the start of a stage."""

    scene: Scene
    paths: tuple[str, ...]
    """As in the catalog."""
    snapshot: Snapshot
    """The files on this machine, with those that belong to them, by ``Belongings``."""
    pinned: Mapping[str, str]
    """The pinned stamps of remote files, by address."""
    folders: Mapping[Path, int]
    """The folders of the files, and when an entry was last added or removed there, ns."""

    @property
    def contents(self) -> dict[str, str]:
        """The hashes of local files and the stamps of remote ones, by path."""
        return {file.as_posix(): found for file, found in self.snapshot.hashes.items()} | dict(self.pinned)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Raise InputError at the end if a file on this machine was changed, removed or added meanwhile.

        It takes the place of an error that reading such a file raises.
        """
        try:
            yield
        except Exception as error:
            for change in self.changes():
                raise change from error
            raise
        for change in self.changes():
            raise change

    def changes(self) -> Iterator[InputError]:
        """Yield an error for each such file."""
        times = {folder: _last_entry(folder) for folder in self.folders}
        listed = () if times == self.folders else _files(self.paths, _belongings(frozenset(times.items())))
        return self.snapshot.changes(self.scene.id, listed)


def input_files(
    scenes: Sequence[Scene], hashes: Hashes | None = None, pinned: Mapping[str, str] | None = None
) -> list[InputFiles]:
    """Return the files of each scene as they are now.

    With ``hashes``, they have the hashes of their contents. Without, a scene whose files are unknown has none; opening
    it raises the error.
    """
    belongings = Belongings()
    named = [_paths(scene, strict=hashes is not None) for scene in scenes]
    listed = [_files(paths, belongings) for paths in named]
    every = {file for files in listed for file in files}
    times = {folder: _last_entry(folder) for folder in {file.parent for file in every}}
    known = {} if hashes is None else hashes.of_all(every)
    stamps = {file: known[file][0] if known else state(file) for file in every}
    return [
        InputFiles(
            scene,
            paths,
            Snapshot(
                {file: stamps[file] for file in files if not file.name.endswith(MAPPED)},
                {file: known[file][1] for file in files if known},
            ),
            {path: pinned[path] for path in paths if is_remote(path)} if pinned else {},
            {folder: times[folder] for folder in {file.parent for file in files}},
        )
        for scene, paths, files in zip(scenes, named, listed, strict=True)
    ]


def raise_changes(begun: Snapshot, inputs: Iterable[InputFiles]) -> None:
    """Raise InputError if a file of ``begun`` or of a scene was changed since; print further errors."""
    raise_all([*begun.changes(), *(error for one in inputs for error in one.changes())])


def _paths(scene: Scene, *, strict: bool) -> tuple[str, ...]:
    try:
        return tuple(sorted({*scene.files()}))
    except QuadratError:
        if strict:
            raise
        return ()


def _files(paths: Iterable[str], belongings: Belongings) -> list[Path]:
    """Return the files of these paths on this machine, and those that belong to them."""
    return sorted({file for path in paths if not is_remote(path) for file in belongings.of(path)})


@lru_cache(maxsize=8)
def _belongings(_: frozenset[tuple[Path, int]]) -> Belongings:
    """Return one object for all scenes in these folders while no entry is added or removed: it lists them once."""
    return Belongings()


def _last_entry(folder: Path) -> int:
    return folder.stat().st_mtime_ns if folder.is_dir() else 0
