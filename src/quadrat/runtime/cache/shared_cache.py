"""Finished units of scenes in a place that machines share, so that each is made once, by whoever comes first.

<url>/<stage>/<two digits>/<identity>/files.json   {name: hash of its content}, written last
<url>/<stage>/<two digits>/<identity>/<hash>       the content of a file

``identity`` is the hash of all that a unit is made of (``scene_cache.identity``). Files are named by their content, so
two writers of one unit mix nothing, and a unit without ``files.json`` isn't there. The place is any URL of fsspec, or a
folder. Who may write there decides what a project's chips and layers are: it is trusted as the DVC remote is.
"""

import json
import re
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

from quadrat.errors import SharedCacheError
from quadrat.runtime.cache.hashes import KIND, read
from quadrat.runtime.progress import warn

INDEX = "files.json"

MOST = 1 << 20
"""Largest index, bytes."""

S3 = {"config_kwargs": {"connect_timeout": 5, "retries": {"max_attempts": 3}}}
"""Options for S3: a dead server is noticed in seconds."""


@dataclass
class SharedCache:
    """The units of a ``stage`` below ``url``; a failing place is warned of once and then left alone."""

    url: str
    stage: str
    failed: bool = False
    _lock: Lock = field(default_factory=Lock, repr=False)

    def check_outside(self, folder: Path) -> None:
        """Raise SharedCacheError if the cache lies in ``folder``, whose stage deletes what it doesn't know there."""
        system, path = self._system
        if "file" in _protocols(system) and Path(path).resolve().is_relative_to(folder.resolve()):
            raise SharedCacheError(
                "the shared cache lies in a folder that a stage empties",
                file=self.url,
                expected=f"a folder outside of {folder}",
                hint="set QUADRAT_CACHE to another folder",
            )

    def lacks(self, of: str) -> bool:
        """Return whether a unit isn't there; raise SharedCacheError if that can't be known."""
        try:
            return not self._system[0].exists(self._path(of, INDEX))
        except Exception as error:
            raise self._error(error) from error

    def fetch(self, of: str, folder: Path) -> Mapping[str, str] | None:
        """Write the files of a unit to a new ``folder``; return their hashes by name, or None if it isn't there.

        A damaged unit is named in a warning, and isn't there either: storing it again mends it.
        """
        if self.failed:
            return None
        try:
            return self._fetched(of, folder)
        except FileNotFoundError:
            return None
        except ValueError as damage:
            warn(f"the shared cache's {self.stage} {of} is damaged ({damage}): it is made anew")
        except Exception as error:  # noqa: BLE001 the libraries of stores raise anything
            self._give_up(error)
        return None

    def store(self, of: str, folder: Path, files: Mapping[str, str]) -> None:
        """Store the ``files`` of a unit, hashes by name; raise SharedCacheError if that fails."""
        try:
            for name, found in files.items():
                self._put(folder / name, self._path(of, _plain(found)))
            index = json.dumps(dict(sorted(files.items())), indent=2).encode()
            self._pipe(index, self._path(of, INDEX))
        except Exception as error:
            raise self._error(error) from error

    def offer(self, of: str, folder: Path, files: Mapping[str, str]) -> None:
        """Store a unit, which is here as well: if that fails, warn, once."""
        if not self.failed:
            try:
                self.store(of, folder, files)
            except SharedCacheError as error:
                self._give_up(error.__cause__ or error)

    def _fetched(self, of: str, folder: Path) -> dict[str, str]:
        system, _ = self._system
        content = system.cat_file(self._path(of, INDEX), end=MOST)
        try:
            files = {str(name): str(found) for name, found in json.loads(content).items()}
        except (ValueError, AttributeError) as error:
            raise ValueError("its index can't be read") from error
        folder.mkdir(parents=True)
        for name, found in files.items():
            if name != PurePosixPath(name).name or "\\" in name:
                raise ValueError(f"{name!r} is no name of a file")
            try:
                system.get_file(self._path(of, _plain(found)), str(folder / name))
            except FileNotFoundError as error:
                raise ValueError(f"the content of {name} is missing") from error
            if read(folder / name)[1] != found:
                raise ValueError(f"the content of {name} is another")
        return files

    @cached_property
    def _system(self) -> tuple[Any, str]:
        """The file system of the URL, and the path there."""
        return system_of(self.url)

    def _path(self, of: str, name: str) -> str:
        return f"{self._system[1]}/{self.stage}/{of[:2]}/{of}/{name}"

    def _put(self, file: Path, path: str) -> None:
        system, _ = self._system
        with _whole(system, path) as aside:
            system.put_file(str(file), aside)

    def _pipe(self, content: bytes, path: str) -> None:
        system, _ = self._system
        with _whole(system, path) as aside:
            system.pipe_file(aside, content)

    def _error(self, error: BaseException) -> SharedCacheError:
        return SharedCacheError(
            "the shared cache can't be used",
            file=self.url,
            got=f"{type(error).__name__}: {error}",
            hint="check QUADRAT_CACHE, the credentials, and that the server runs; without QUADRAT_CACHE, all is made "
            "here",
        )

    def _give_up(self, error: BaseException) -> None:
        with self._lock:
            if not self.failed:
                self.failed = True
                warn(
                    f"the shared cache {self.url} can't be used, so all is made here ({type(error).__name__}: {error})"
                )


def system_of(url: str) -> tuple[Any, str]:
    """Return the file system of a URL or of a folder, and the path there; raise SharedCacheError if there is none."""
    import fsspec  # slow

    try:
        options = S3 if url.startswith(("s3://", "s3a://")) else {}
        system, path = fsspec.core.url_to_fs(url, **options)
    except (ValueError, ImportError, OSError) as error:
        raise SharedCacheError(
            "the shared cache isn't a place for files",
            file=url,
            expected="a folder, or a URL such as s3://bucket/folder",
            got=error,
        ) from error
    return system, str(path).rstrip("/")


@contextmanager
def _whole(system: Any, path: str) -> Iterator[str]:
    """Yield a path to write to, which becomes ``path`` when all is there; stores of objects need none aside."""
    if "file" not in _protocols(system):
        yield path
        return
    aside = Path(f"{path}.part-{uuid.uuid4().hex}")
    aside.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield str(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _protocols(system: Any) -> Collection[str]:
    return (system.protocol,) if isinstance(system.protocol, str) else system.protocol


def _plain(found: str) -> str:
    """Return a hash as the name of an object."""
    name = found.removeprefix(KIND)
    if not re.fullmatch(r"[0-9a-f]{32}", name):
        raise ValueError(f"{found!r} is no hash")
    return name
