"""What a stage has made of what, scene by scene: so that it makes anew only what changed.

data/manifests/<stage>.json   {"<scene>": {"of": hash of all that it is made of, "files": {name: hash of its content}}}

Files are known by their content: what a manifest says of a folder that was changed, half fetched or taken from
elsewhere is never believed.
"""

import hashlib
import json
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from quadrat.errors import DiskError
from quadrat.runtime.cache.code_hash import code_hash
from quadrat.runtime.cache.gdal import gdal_version
from quadrat.runtime.cache.hashes import Hashed, Hashes, read
from quadrat.runtime.files import remove, write_json

LIBRARIES = (
    "geopandas",
    "numpy",
    "onnx",
    "onnxruntime",
    "pandas",
    "pyarrow",
    "pyogrio",
    "pyproj",
    "rasterio",
    "scikit-learn",
    "segmentation-models-pytorch",
    "shapely",
    "timm",
    "torch",
    "torchvision",
)
"""Those whose version may change what is made."""

LEFT_BEHIND = (".aux.xml", ".qmd", "-journal", "-shm", "-wal")
"""How files end that GDAL, QGIS and SQLite leave beside those that they open; ``.dvcignore`` names them too."""

EVERY = 1.0
"""Seconds between two times that a manifest is written: what a killed stage has made since is made again."""


def identity(stage: str, **made_of: Any) -> str:
    """Return what stands for a thing made by module ``stage``: another for other code, libraries or ``made_of``."""
    content = {"code": code_hash(stage), "versions": versions(), **to_jsonable_python(made_of, by_alias=True)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@cache
def versions() -> dict[str, str]:
    """Return the versions of LIBRARIES, and of GDAL."""
    return {name: version(name) for name in LIBRARIES} | {"GDAL": gdal_version()}


def files_of(folder: Path) -> dict[str, Hashed]:
    """Return the files of a folder that was just made, by name: for who has made it to call, beside others."""
    return {name: read(folder / name) for name in _names(folder)}


class Manifest:
    """What is in a stage's ``folder``: subfolders, by path below it, of which each is made of its own things."""

    def __init__(self, path: Path, folder: Path, hashes: Hashes) -> None:
        """Read the manifest at ``path``; where it is missing or damaged, nothing is known."""
        self._path, self._folder, self._hashes = path, folder, hashes
        self._written = 0.0
        self._entries: dict[str, dict[str, Any]] = {}
        with suppress(OSError, ValueError, TypeError):
            self._entries = dict(json.loads(path.read_text(encoding="utf-8")))

    def stands(self, name: str, of: str) -> bool:
        """Return whether the subfolder ``name`` is whole, and made of just that."""
        entry = self._entries.get(name)
        if not isinstance(entry, dict) or entry.get("of") != of:
            return False
        folder = self._folder / name
        files, there = entry.get("files"), set(_names(folder))
        if not isinstance(files, dict) or not there.issuperset(files):
            return False
        if not all(name.endswith(LEFT_BEHIND) for name in there.difference(files)):
            return False
        return all(self._hashes.of(folder / file) == found for file, found in files.items())

    @contextmanager
    def written(self) -> Iterator[None]:
        """Write it at the end, whatever that is: what an interrupted or failed stage has made is kept."""
        try:
            yield
        except BaseException:
            with suppress(OSError, DiskError):  # the disk may be full, and that is told
                self.save()
            raise
        self.save()

    def note(self, name: str, of: str, files: Mapping[str, Hashed]) -> None:
        """Note that the subfolder ``name`` was just made: ``files`` is what ``files_of`` says of it."""
        for file, found in files.items():
            self._hashes.remember(self._folder / name / file, found)
        self._entries[name] = {"of": of, "files": {file: found for file, (_, found) in files.items()}}
        if time.monotonic() - self._written > EVERY:
            self.save()

    def keep(self, wanted: Collection[str], others: Collection[str] = ()) -> None:
        """Forget and remove all but the subfolders that are ``wanted``, and the files ``others``."""
        self._entries = {name: entry for name, entry in self._entries.items() if name in wanted}
        places = {self._folder / name for name in wanted}
        kept = {*places, *(self._folder / name for name in others)}
        for folder in (self._folder, *places):
            for path in list(folder.iterdir()) if folder.is_dir() else ():
                if path not in kept and (folder == self._folder or path.is_dir()):
                    remove(path)

    def save(self) -> None:
        """Write it, in the order of names."""
        write_json(self._path, dict(sorted(self._entries.items())))
        self._written = time.monotonic()


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
