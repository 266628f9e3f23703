"""Files that belong to those of a catalog: files beside them, and files that they refer to."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

WITHIN = re.compile(r"^(/vsi\w+/|\w+://)+")
"""GDAL's prefix of a file within another, e.g. /vsizip/."""

WHOLE = {".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg", ".gpkg", ".geojson", ".json", ".fgb", ".shp", ".parquet"}
"""Endings of files that hold all that they tell, but for what lies beside them: GDAL is not asked for more."""

PAM = ".aux.xml"
"""Ending of what GDAL, and what is built on it, writes beside a raster: statistics, but also what counts."""

RPC = "_rpc"
"""Ending of the name, before that of the format, of a file of rational polynomials."""

COMPANIONS = {".shx", ".dbf", ".prj", ".cpg", ".dat", ".map", ".id", ".mid", ".gfs", ".xsd"}
"""Endings of files that vector files are read with."""

REFERS = re.compile(r"<SrcDataSource(?:\s+relativeToVRT=\"([01])\")?[^>]*>([^<]+)</SrcDataSource>")
"""How a virtual vector file names the files that it is made of."""


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
    """Return what a raster's ``.aux.xml`` tells of it that the raster doesn't, in words; of statistics nothing.

    What GDAL says of the raster with and without it is compared.
    """
    from quadrat.geo.files.raster_files import facts

    raster = sidecar.with_name(sidecar.name.removesuffix(PAM))
    if not raster.exists():
        return []  # nobody reads it
    alone, both = facts(raster.as_posix(), GDAL_PAM_ENABLED="NO"), facts(raster.as_posix(), GDAL_PAM_ENABLED="YES")
    return [name for name in {**alone, **both} if alone.get(name) != both.get(name)]


def is_read_with(named: Path, file: Path) -> bool:
    """Return whether GDAL reads ``file`` with the one that is ``named``, as far as it tells."""
    parts = _parts(str(named))
    if not parts:  # vectors: of these it doesn't tell
        return file.suffix.lower() in COMPANIONS
    return os.path.abspath(file) in map(os.path.abspath, parts)  # noqa: PTH100 (links stay)


def _belonging(path: str, beside: Callable[[Path], Mapping[str, Sequence[str]]]) -> Iterator[Path]:
    waiting, seen = [path], set[str]()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            files, of_others = _at(name, beside)
            yield from (file for file in files if not file.name.endswith(PAM) or meaning_beside(file))
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
        return _sources(Path(name)) if name.endswith(".vrt") else []  # or who reads it says what is wrong


def _sources(virtual: Path) -> list[str]:
    """Return the files of which a virtual vector file is made."""
    text = virtual.read_text(encoding="utf-8", errors="replace") if virtual.is_file() else ""
    return [str(virtual.parent / path if relative == "1" else path) for relative, path in REFERS.findall(text)]
