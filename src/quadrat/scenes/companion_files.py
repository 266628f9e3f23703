"""Files that belong to those of a catalog: files beside them, and files that they refer to."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

WITHIN = re.compile(r"^(/vsi\w+/|\w+://)+")
"""GDAL's prefix of a file within another, e.g. /vsizip/."""

WHOLE = {".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg", ".gpkg", ".geojson", ".json", ".fgb", ".shp", ".parquet"}
"""Endings of files without references; only files beside them are searched, without GDAL."""

PAM = ".aux.xml"
"""Ending of GDAL's metadata files beside a raster: statistics, but also nodata, CRS and others."""

RPC = "_rpc"
"""Ending of the name, before that of the format, of a file of rational polynomials."""

COMPANIONS = {".shx", ".dbf", ".prj", ".cpg", ".dat", ".map", ".id", ".mid", ".gfs", ".xsd"}
"""Endings of files that vector files are read with."""

REFERS = re.compile(r"<SrcDataSource(?:\s+relativeToVRT=\"([01])\")?[^>]*>([^<]+)</SrcDataSource>")
"""Pattern of the file names in a virtual vector file."""


class Belongings:
    """Finds the files on this machine that belong to those of a catalog, with a cache."""

    def __init__(self) -> None:
        """Start with an empty cache."""
        self._beside = cache(_beside)
        self.of: Callable[[str], frozenset[Path]] = cache(lambda path: frozenset(_belonging(path, self._beside)))
        """Return the files of a path, and those that belong to them.

        These are the files beside it with the same name but another ending (world files, masks, ``.aux.xml``, parts of
        a Shapefile), the files that a VRT or DIMAP refers to, as GDAL lists them, and all files of a folder. A
        ``.aux.xml`` with only statistics does not belong to a file.
        """


def meaning_beside(sidecar: Path) -> list[str]:
    """Return the kinds of metadata that a raster has only through its ``.aux.xml``, without statistics.

    GDAL's metadata of the raster with and without the file are compared.
    """
    from quadrat.geo.files.raster_files import facts

    raster = sidecar.with_name(sidecar.name.removesuffix(PAM))
    if not raster.exists():
        return []  # there is no such raster
    alone, both = facts(raster.as_posix(), GDAL_PAM_ENABLED="NO"), facts(raster.as_posix(), GDAL_PAM_ENABLED="YES")
    return [name for name in {**alone, **both} if alone.get(name) != both.get(name)]


def is_read_with(named: Path, file: Path) -> bool:
    """Return whether GDAL lists ``file`` as a part of the file ``named``."""
    parts = _parts(str(named))
    if not parts:  # GDAL does not list them for vectors
        return file.suffix.lower() in COMPANIONS
    return os.path.abspath(file) in map(os.path.abspath, parts)  # noqa: PTH100 (links stay)


def _belonging(path: str, beside: Callable[[Path], Mapping[str, Sequence[str]]]) -> Iterator[Path]:
    waiting, seen = [path], set[str]()
    while waiting:
        name = waiting.pop()
        place = os.path.realpath(name)  # one file has many names, and may name itself by one that grows
        if place not in seen:
            seen.add(place)
            files, of_others = _at(name, beside)
            yield from (file for file in files if not file.name.endswith(PAM) or meaning_beside(file))
            waiting.extend(_parts(name) if of_others else ())


def _at(name: str, beside: Callable[[Path], Mapping[str, Sequence[str]]]) -> tuple[Iterable[Path], bool]:
    """Return the files of a path itself, and whether GDAL may list others that belong to it."""
    named = Path(WITHIN.sub("", name).partition("!")[0])
    place = named
    while not place.exists() and place != place.parent:
        place = place.parent  # for a file in an archive, the archive
    if place.is_file():
        files = [place.with_name(other) for other in beside(place.parent).get(place.stem, ())]
        return files, place == named and place.suffix.lower() not in WHOLE
    if place == named:
        return [file for file in place.rglob("*") if file.is_file()], False
    return (), not WITHIN.match(name)  # remote, or GDAL's name of a part of a file: NETCDF:"a.nc":b


def _beside(folder: Path) -> Mapping[str, Sequence[str]]:
    """Return the files in a folder by their names without one or more endings."""
    found: dict[str, list[str]] = {}
    for entry in os.scandir(folder):
        if entry.is_file() and not entry.name.endswith(".dvc"):
            parts = entry.name.split(".")
            stems = [".".join(parts[:count]) for count in range(1, max(2, len(parts)))]
            for stem in stems + [stem[: -len(RPC)] for stem in stems if stem.lower().endswith(RPC)]:
                found.setdefault(stem, []).append(entry.name)
    return found


def _parts(name: str) -> list[str]:
    from rasterio.errors import RasterioError

    from quadrat.errors import ImageError
    from quadrat.geo.files.opening import open_raster
    from quadrat.geo.files.raster_files import environment

    try:
        with environment(()), open_raster(name) as dataset:
            return list(dataset.files)
    except (RasterioError, OSError, ImageError):
        return _sources(Path(name)) if name.endswith(".vrt") else []  # the reader reports the error


def _sources(virtual: Path) -> list[str]:
    """Return the files that a virtual vector file refers to."""
    text = virtual.read_text(encoding="utf-8", errors="replace") if virtual.is_file() else ""
    return [str(virtual.parent / path if relative == "1" else path) for relative, path in REFERS.findall(text)]
