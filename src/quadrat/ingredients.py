"""What scenes are made of, by content: the files that the catalog names, and those that belong to them."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from quadrat.hashes import Hashes
from quadrat.scenes.channel import is_remote

WITHIN = re.compile(r"^(/vsi\w+/|\w+://)+")
"""How GDAL, and what is built on it, mark a file within another, e.g. /vsizip/."""

WHOLE = {".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg", ".gpkg", ".geojson", ".json", ".fgb", ".shp", ".parquet"}
"""Endings of files that hold all that they tell, but for what lies beside them: GDAL is not asked for more."""


def contents(scenes: Iterable[Iterable[str]], hashes: Hashes, pinned: Mapping[str, str]) -> list[dict[str, str]]:
    """Return, for the paths of each scene, the hashes of all its local files, and what is ``pinned`` of all others.

    To a file belong those beside it that are called like it but for the ending (world files, masks, ``.aux.xml``, the
    parts of a shapefile); to a file that refers to others (VRT, DIMAP) those, as GDAL tells; to a folder all in it.
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
    waiting, seen = [path], set[str]()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            files, of_others = _at(name, beside)
            yield from files
            waiting.extend(_parts(name) if of_others else ())


def _at(name: str, beside: Callable[[Path], Mapping[str, Sequence[str]]]) -> tuple[Iterable[Path], bool]:
    """Return the files that a path means by itself, and whether GDAL may know of others that belong to it."""
    named = Path(WITHIN.sub("", name).partition("!")[0])
    place = named
    while not place.exists() and place != place.parent:
        place = place.parent  # of a file within an archive, the archive
    if place.is_file():
        files = [place.with_name(other) for other in beside(place.parent).get(place.stem, ())]
        return files, place == named and place.suffix.lower() not in WHOLE
    if place == named:
        return [file for file in place.rglob("*") if file.is_file()], False
    return (), not WITHIN.match(name)  # elsewhere, or part of a file as GDAL calls it: NETCDF:"a.nc":b


def _beside(folder: Path) -> Mapping[str, Sequence[str]]:
    """Return the files in a folder by all that their names may be without ending."""
    found: dict[str, list[str]] = {}
    for entry in os.scandir(folder):
        if entry.is_file() and not entry.name.endswith(".dvc"):
            parts = entry.name.split(".")
            for count in range(1, max(2, len(parts))):
                found.setdefault(".".join(parts[:count]), []).append(entry.name)
    return found


def _parts(name: str) -> list[str]:
    import rasterio
    from rasterio.errors import RasterioError

    from quadrat.scenes.files import environment

    try:
        with environment(()), rasterio.open(name) as dataset:
            return list(dataset.files)
    except RasterioError:
        return []  # no raster, or who reads it says what is wrong
