"""What scenes are made of, by content: the files that the catalog names, and those that belong to them."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import rasterio
from rasterio.errors import RasterioError

from quadrat.hashes import Hashes
from quadrat.scenes.files import environment, is_remote

WITHIN = re.compile(r"^(/vsi\w+/|\w+://)+")
"""How GDAL, and what is built on it, mark a file within another, e.g. /vsizip/."""


def contents(scenes: Iterable[Iterable[str]], hashes: Hashes, pinned: Mapping[str, str]) -> list[dict[str, str]]:
    """Return, for the paths of each scene, the hashes of all its local files, and what is ``pinned`` of all others.

    To a file belong those beside it that are called like it but for the ending (world files, masks, ``.aux.xml``, the
    parts of a shapefile); to a mosaic (VRT) the files that it is made of; to a folder all in it.
    """
    beside = cache(_beside)
    belonging = cache(lambda path: frozenset(_belonging(path, beside)))
    named = [sorted({*paths}) for paths in scenes]
    listed = [sorted({file for path in paths if not is_remote(path) for file in belonging(path)}) for paths in named]
    known = hashes.of_all(file for files in listed for file in files)
    return [
        {file.as_posix(): known[file] for file in files} | {path: pinned[path] for path in paths if is_remote(path)}
        for paths, files in zip(named, listed, strict=True)
    ]


def _belonging(path: str, beside: Callable[[Path], Mapping[str, Sequence[str]]]) -> Iterator[Path]:
    named = Path(WITHIN.sub("", path).partition("!")[0])
    place = named
    while not place.exists() and place != place.parent:
        place = place.parent  # of a file within an archive, the archive
    if place.is_file():
        yield from (place.with_name(name) for name in beside(place.parent).get(place.stem, ()))
        if place.suffix.lower() == ".vrt":
            yield from (file for source in _sources(place) for file in _belonging(source, beside))
    elif place == named:
        yield from (file for file in place.rglob("*") if file.is_file())


def _beside(folder: Path) -> Mapping[str, Sequence[str]]:
    """Return the files in a folder by all that their names may be without ending."""
    found: dict[str, list[str]] = {}
    for entry in os.scandir(folder):
        if entry.is_file() and not entry.name.endswith(".dvc"):
            parts = entry.name.split(".")
            for count in range(1, max(2, len(parts))):
                found.setdefault(".".join(parts[:count]), []).append(entry.name)
    return found


def _sources(mosaic: Path) -> list[str]:
    try:
        with environment(()), rasterio.open(mosaic) as dataset:
            return [file for file in dataset.files if Path(file) != mosaic]
    except RasterioError:
        return []  # who reads it says what is wrong
