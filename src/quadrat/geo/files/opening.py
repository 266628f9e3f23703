"""Opens a user's raster files, and checks them before any pixel is read.

GDAL goes by a file's first bytes, not by its name: a ``.tif`` may be a description of a web service or of a virtual
raster, which lead to other files and hosts. So only formats with their own pixels are read, and formats that refer to
other files (VRT, DIMAP) only if the ending says so, after their references were checked.
"""

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import rasterio._base
from rasterio._path import _parse_path, _vsi_path
from rasterio.env import ensure_env_with_credentials
from rasterio.errors import RasterioIOError
from rasterio.io import DatasetReader

from quadrat.errors import ImageError, QuadratError
from quadrat.geo.files.gdal import first_bytes, identified
from quadrat.geo.files.hdf5_links import outward
from quadrat.geo.files.raster_costs import check_size
from quadrat.geo.files.vrt_sources import FORMS, PARTS, plainly, references
from quadrat.geo.sources.channel import REMOTE, gdal_name, is_remote
from quadrat.runtime.cache.file_memo import FileMemo

FORMATS = (
    *("GTiff", "JP2OpenJPEG", "PNG", "JPEG", "WEBP", "GIF", "BIGGIF", "BMP", "PNM"),
    *("HFA", "ENVI", "EHdr", "AIG", "AAIGrid", "DTED", "SRTMHGT", "USGSDEM", "RST", "SAGA", "GSAG", "GSBG", "GS7BG"),
    *("netCDF", "HDF5", "HDF5Image", "GRIB", "NITF"),
)
"""GDAL's names of the formats that are read: all but those that refer to other files, or to services."""

SHOWN = "GeoTIFF, JPEG 2000, PNG, JPEG, ERDAS (.img), ENVI, ESRI grids, netCDF, HDF5, GRIB, NITF and such"

PART_FORMATS = {"NETCDF": ("netCDF",), "HDF5": ("HDF5Image",), "GTIFF_DIR": ("GTiff",), "NITF_IM": ("NITF",)}

ARCHIVE = re.compile(r"(/vsi(?:zip|tar|gzip)/|(?:zip|tar|gzip)(?:\+file)?://)+", re.IGNORECASE)
"""How a path within an archive begins: as GDAL calls it, or rasterio."""

COMPANIONS = (".ovr", ".OVR", ".msk", ".MSK")
"""Endings of what GDAL takes for overviews and masks of a file, beside it."""

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""The first bytes of a TIFF."""

ERDAS = b"EHFA_HEADER_TAG"
"""How an ERDAS file begins, and an .aux file beside an image, of which GDAL takes overviews."""

DEPTH, MOST_SOURCES = 6, 100_000
"""Most levels of files that refer to others, and most references, counted as often as they are followed."""


@dataclass(frozen=True)
class Place:
    """The meaning of a path."""

    name: str
    """GDAL's name of it."""
    formats: tuple[str, ...]
    file: Path | None
    """The local file, or the archive that contains it; None for a remote file."""
    alone: bool
    """Whether the path is only the file's, without a prefix or suffix."""


@dataclass(frozen=True)
class Opener:
    """Opens a user's raster files; raises ``error``, which names the file and the scene."""

    error: type[QuadratError] = ImageError
    scene: str | None = None

    def open(self, path: str) -> Any:
        """Return the open file; raise ``error`` for what isn't read, and what rasterio raises for what is damaged."""
        place = self._place(path)
        if place.formats in FORMS.values():
            self._judged(path, (), Path(os.path.abspath(path)).parent)  # noqa: PTH100 (links stay)
        return self._opened(path, place)

    def _opened(self, path: str, place: Place) -> Any:
        if place.file and not ARCHIVE.match(path):
            self._check_links(path, place.file)
        try:
            dataset = _reader(place.name, place.formats)
        except RasterioIOError as cause:
            if "not recognized" not in str(cause):
                raise
            raise self.error(
                "the file can't be opened: it is in no format that is read, or not what its name says",
                self.scene,
                path,
                expected="a virtual raster or a DIMAP" if place.formats in FORMS.values() else SHOWN,
                got=cause,
                hint="check what it is with `gdalinfo`, and make a GeoTIFF of it (gdal_translate IN out.tif); "
                "a virtual raster is read where its name ends in .vrt",
            ) from cause
        try:
            self._check(dataset, path, place)
        except BaseException:
            dataset.close()
            raise
        return dataset

    def _place(self, path: str, *, referred: bool = False) -> Place:
        """Return what a path means; raise ``error`` if that isn't a regular file, or a place that is read from."""
        if not referred and is_remote(path):
            return Place(gdal_name(path), FORMATS, None, alone=True)
        part = PARTS.fullmatch(path)
        if part:
            kind, inner = _part(part)
            return Place(path, PART_FORMATS[kind], self._regular(path, Path(inner)), alone=False)
        archive = ARCHIVE.match(path)
        if archive:
            within = re.sub("[{}]", "", path[archive.end() :]).partition("!")[0]
            far = within.partition("://")[0] in REMOTE or f"/{within.lstrip('/')}".startswith(tuple(REMOTE.values()))
            if far and not referred:
                return Place(path, FORMATS, None, alone=False)
            return Place(path, FORMATS, self._regular(path, _existing(Path(within))), alone=False)
        plain = path.removeprefix("file://")
        if plain.startswith("/vsi") or ("://" in plain and not Path(plain).exists()):
            raise self.error(
                "images are not read from such a place",
                self.scene,
                path,
                expected=f"a file of this machine, one in a zip or tar, or {', '.join(f'{s}://' for s in REMOTE)}",
                hint="correct the path in the catalog",
            )
        file = self._regular(path, Path(plain))
        return Place(_whole(plain), FORMS.get(file.suffix.lower(), FORMATS), file, alone=True)

    def _regular(self, path: str, file: Path) -> Path:
        """Return a file that is there, is no pipe nor device nor folder, and holds a byte; raise ``error`` if not."""
        try:
            found = file.stat()
        except ValueError as cause:  # a zero byte in its name
            raise self.error(
                "no file is called so", self.scene, repr(path), got=cause, hint="check the path"
            ) from cause
        problem = None
        if stat.S_ISDIR(found.st_mode):
            problem = "a folder is no image"
        elif not stat.S_ISREG(found.st_mode):
            problem = "this is no file that ends, but a pipe or a device"
        elif not found.st_size:
            problem = "the file is empty"
        if problem is None:
            return file
        raise self.error(problem, self.scene, path, expected="a regular file with an image", hint="check the path")

    def _check(self, dataset: Any, path: str, place: Place) -> None:
        """Raise ``error`` if what was opened leads elsewhere, or asks for more than a machine can do."""
        known = identified(place.name) if place.file else dataset.driver
        if known not in {dataset.driver, None} and known not in place.formats:
            raise self.error(
                "the file may be taken for two formats",
                self.scene,
                path,
                expected=dataset.driver,
                got=known,
                hint="write it anew as a GeoTIFF: gdal_translate -if FORMAT … out.tif",
            )
        overviews = dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE")
        if overviews is not None:
            raise self.error(
                "the file names another one with its overviews",
                self.scene,
                path,
                got=overviews,
                hint="make them anew, in the file or beside it (gdaladdo), and take the item OVERVIEW_FILE out of it "
                "or of its .aux.xml",
            )
        if dataset.driver == "HFA":
            self._check_spilled(dataset, path, place)
        if dataset.count:
            check_size(dataset, path, self.error, self.scene)
        if place.file and not PARTS.fullmatch(path):
            self._check_beside(place.name)

    def _check_links(self, path: str, file: Path) -> None:
        """Raise ``error`` where HDF5, or netCDF, names other files, which the library would read, or holds itself."""
        library = str(rasterio._base.__file__)  # noqa: SLF001 (an extension linked with it)
        wrong = _LINKS.of(file, partial(outward, file, library))
        if wrong is not None:
            raise self.error(
                "the file names others with its values, or can't be looked through",
                self.scene,
                path,
                expected="HDF5 or netCDF that holds its own values, each group in one other",
                got=wrong,
                hint="make a GeoTIFF of it where it is trusted: gdal_translate IN out.tif",
            )

    def _check_spilled(self, dataset: Any, path: str, place: Place) -> None:
        """Raise ``error`` where an ERDAS file names another one with its pixels or overviews that isn't beside it."""
        folder = os.path.dirname(os.path.normpath(place.name))  # noqa: PTH120 (it may be an address)
        for other in dataset.files:
            if os.path.dirname(os.path.normpath(other)) != folder:  # noqa: PTH120
                raise self.error(
                    "the file names another one with its pixels or overviews that isn't beside it",
                    self.scene,
                    path,
                    got=other,
                    hint="make a GeoTIFF of it where it is trusted: gdal_translate IN out.tif",
                )

    def _check_beside(self, name: str) -> None:
        """Raise ``error`` if what GDAL takes for overviews or masks of a file is no TIFF."""
        for beside in (name + ending for ending in COMPANIONS):
            start = first_bytes(beside, 4)
            if start is None:
                continue
            if not start.startswith(TIFF):
                raise self.error(
                    "the file beside an image that is to hold its overviews or its mask is no TIFF",
                    self.scene,
                    beside,
                    hint="make it anew (gdaladdo -ro, or gdal_translate -co …), or take it away",
                )
            self._opened(beside, Place(beside, ("GTiff",), Path(beside), alone=True)).close()
        for beside in _auxiliary(name):
            if first_bytes(beside, len(ERDAS)) == ERDAS:
                self._opened(beside, Place(beside, ("HFA",), None, alone=True)).close()

    def _judged(self, path: str, chain: tuple[str, ...], root: Path) -> int:
        """Judge a file that refers to others, and those; return how many references are followed in all.

        They lie below ``root`` or the project's root.
        """
        file = os.path.abspath(path)  # noqa: PTH100 (links stay)
        if file in chain or len(chain) >= DEPTH:
            got = "itself" if file in chain else f"{len(chain) + 1} levels"
            raise self._reference(chain[0], "files that refer to each other don't end", got)
        total, seen = 0, dict[str, int]()
        for name in references(Path(file), self.error, self.scene):
            if name not in seen:
                seen[name] = self._referred(name, (*chain, file), root)
            total += seen[name]
            if total > MOST_SOURCES:
                raise self._reference(file, "the file refers to too many others", f"more than {MOST_SOURCES}")
        return total

    def _referred(self, name: str, chain: tuple[str, ...], root: Path) -> int:
        if not plainly(name):
            raise self._reference(chain[-1], "the name of a file that it refers to may be read in two ways", name)
        try:
            place = self._place(name, referred=True)
        except OSError as cause:
            raise self._reference(chain[-1], "a file that it refers to is missing", cause) from cause
        assert place.file is not None
        own = os.path.abspath(place.file)  # noqa: PTH100 (links stay)
        if not any(Path(own).is_relative_to(folder) for folder in (root, Path.cwd())):
            raise self._reference(chain[-1], "the file refers to one that lies elsewhere", name)
        if place.formats in FORMS.values():
            return self._judged(own, chain, root)
        if "/" not in name and any(first_bytes(one, len(ERDAS)) == ERDAS for one in (name, *_auxiliary(name))):
            raise self._reference(chain[-1], "an ERDAS file that is named without its folder may lead anywhere", name)
        _JUDGED.of(place.file, lambda: self._opened(name, place).close(), self, name)
        return 1

    def _reference(self, path: str, problem: str, got: object) -> QuadratError:
        return self.error(
            problem,
            self.scene,
            path,
            expected="images below the project's root, or below the file's own folder",
            got=got,
            hint="name the images themselves in the catalog, as a mosaic (a list of paths, or a pattern)",
        )


_JUDGED: FileMemo[None] = FileMemo()
"""Files that were referred to and judged: a mosaic of many is opened several times."""

_LINKS: FileMemo[str | None] = FileMemo()
"""What is wrong with the links of HDF5 files."""


_with_credentials = ensure_env_with_credentials(DatasetReader)
"""What ``rasterio.open`` calls, which takes one driver alone."""


def _reader(name: str, formats: Sequence[str]) -> Any:
    return _with_credentials(name, driver=[*formats])


def open_raster(path: str, error: type[QuadratError] = ImageError, scene: str | None = None) -> Any:
    """Open a user's raster; raise ``error`` for what isn't read, and what rasterio raises for what is damaged."""
    return Opener(error, scene).open(path)


def called(path: str) -> str:
    """Return what GDAL, without rasterio, opens for a path that was judged here."""
    if is_remote(path) or PARTS.fullmatch(path):
        return gdal_name(path)
    if ARCHIVE.match(path):
        return str(_vsi_path(_parse_path(path)))
    return _whole(path.removeprefix("file://"))


def open_virtual(text: str) -> Any:
    """Return a virtual raster of files that were judged, of this program's own ``text``."""
    return _reader(text, ("VRT",))


def _whole(path: str) -> str:
    """Return a path of which GDAL takes no part for a format, nor the names in it (ERDAS') for whole paths."""
    bare = not os.path.isabs(path) and (":" in path or "/" not in path)  # noqa: PTH117 (an empty one stays so)
    return f"./{path}" if bare else path


def _auxiliary(name: str) -> tuple[str, str]:
    """Return what GDAL calls the files beside one in which it looks for ERDAS' overviews."""
    return os.path.splitext(name)[0] + ".aux", name + ".aux"  # noqa: PTH122 (it may be in an archive)


def _part(found: re.Match[str]) -> tuple[str, str]:
    """Return what kind of container it is a part of, and the container's path."""
    kind = found["kind"] or found["numbered"]
    return kind.upper(), found["quoted"] or found["bare"] or found["file"]


def _existing(within: Path) -> Path:
    """Return the archive in which a path leads on."""
    while not within.exists() and within != within.parent:
        within = within.parent
    return within
