"""Opens a user's raster files, and checks them before any pixel is read.

GDAL identifies a file by its first bytes, not by its name: a ``.tif`` may describe a web service or a virtual raster
that refers to other files and hosts. So only formats that hold their own pixels are read. Formats that refer to other
files (VRT, DIMAP) need their own ending, and their references are checked first.
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
from quadrat.geo.sources.channel import SCHEMES, elsewhere, gdal_name, is_remote, spelling
from quadrat.runtime.cache.file_memo import FileMemo

FORMATS = (
    *("GTiff", "JP2OpenJPEG", "PNG", "JPEG", "WEBP", "GIF", "BIGGIF", "BMP", "PNM"),
    *("HFA", "ENVI", "EHdr", "AIG", "AAIGrid", "DTED", "SRTMHGT", "USGSDEM", "RST", "SAGA", "GSAG", "GSBG", "GS7BG"),
    *("netCDF", "HDF5", "HDF5Image", "GRIB", "NITF"),
)
"""GDAL's names of the formats that are read; formats that refer to other files or to services are left out."""

SHOWN = "GeoTIFF, JPEG 2000, PNG, JPEG, ERDAS (.img), ENVI, ESRI grids, netCDF, HDF5, GRIB, NITF and such"

PART_FORMATS = {"NETCDF": ("netCDF",), "HDF5": ("HDF5Image",), "GTIFF_DIR": ("GTiff",), "NITF_IM": ("NITF",)}

ARCHIVE = re.compile(r"(/vsi(?:zip|tar|gzip)/|(?:zip|tar|gzip)(?:\+file)?://)+", re.IGNORECASE)
"""Prefixes of paths in archives, in GDAL's and in rasterio's notation."""

COMPANIONS = (".ovr", ".OVR", ".msk", ".MSK")
"""Endings of files beside an image that GDAL reads as its overviews or mask."""

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""The first bytes of a TIFF."""

ERDAS = b"EHFA_HEADER_TAG"
"""The first bytes of an ERDAS file, also of an .aux file beside an image, from which GDAL reads overviews."""

DEPTH, MOST_SOURCES = 6, 100_000
"""Largest depth of references between files, and largest number of references followed (repeats count)."""


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
    formats: tuple[str, ...] = FORMATS
    """GDAL's names of the formats that are read."""

    def open(self, path: str) -> Any:
        """Return the open file; raise ``error`` if it is not allowed, and rasterio's errors if it is damaged."""
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
                "the file can't be opened: its format is not supported, or its name has the wrong ending",
                self.scene,
                path,
                expected="a virtual raster or a DIMAP" if place.formats in FORMS.values() else SHOWN,
                got=cause,
                hint="check it with `gdalinfo`, and convert it to GeoTIFF (gdal_translate IN out.tif); "
                "a virtual raster is read where its name ends in .vrt",
            ) from cause
        try:
            self._check(dataset, path, place)
        except BaseException:
            dataset.close()
            raise
        return dataset

    def _place(self, path: str, *, referred: bool = False) -> Place:
        """Return the meaning of a path; raise ``error`` if it is not a regular file or a supported address."""
        if not referred and is_remote(path):
            return Place(gdal_name(path), self.formats, None, alone=True)
        part, archive = PARTS.fullmatch(path), ARCHIVE.match(path)
        if part:
            kind, inner = _part(part)
            self._check_here(path, inner)
            return Place(path, PART_FORMATS[kind], self._regular(path, Path(inner)), alone=False)
        if archive:
            within = re.sub("[{}]", "", path[archive.end() :]).partition("!")[0]
            self._check_here(path, f"/{within}" if within.startswith("vsi") else within)  # GDAL needs no second slash
            return Place(path, FORMATS, self._regular(path, _existing(Path(within))), alone=False)
        plain = path.removeprefix("file://")
        if plain.startswith("/vsi") or not Path(plain).exists():
            self._check_here(path, plain)
        file = self._regular(path, Path(plain))
        return Place(_whole(plain), FORMS.get(file.suffix.lower(), self.formats), file, alone=True)

    def _check_here(self, path: str, file: str) -> None:
        """Raise ``error`` if a path, or the container's ``file`` in it, may be on another machine."""
        if is_remote(file) or elsewhere(file):
            raise self.error(
                "images are not read from such a place",
                self.scene,
                path,
                expected=f"a file of this machine, one in a zip or tar of this machine, or {SCHEMES}",
                hint=spelling(path) or "correct the path",
            )

    def _regular(self, path: str, file: Path) -> Path:
        """Return the path of a regular file that is not empty; raise ``error`` for anything else."""
        try:
            found = file.stat()
        except ValueError as cause:  # a zero byte in its name
            raise self.error(
                "no file can have this name", self.scene, repr(path), got=cause, hint="check the path"
            ) from cause
        problem = None
        if stat.S_ISDIR(found.st_mode):
            problem = "the path is a folder, not an image"
        elif not stat.S_ISREG(found.st_mode):
            problem = "the path is a pipe or a device, not a file"
        elif not found.st_size:
            problem = "the file is empty"
        elif ".." in file.parts and os.path.realpath(file) != os.path.realpath(os.path.abspath(file)):  # noqa: PTH100
            problem = "the path leaves a folder that is a link, and so is another than it seems"
        if problem is None:
            return file
        raise self.error(problem, self.scene, path, expected="a regular file with an image", hint="check the path")

    def _check(self, dataset: Any, path: str, place: Place) -> None:
        """Raise ``error`` if the open file refers to other files, or is too large to process."""
        known = identified(place.name) if place.file else dataset.driver
        if known not in {dataset.driver, None} and known not in place.formats:
            raise self.error(
                "the file can be read as two formats",
                self.scene,
                path,
                expected=dataset.driver,
                got=known,
                hint="convert it to GeoTIFF: gdal_translate -if FORMAT … out.tif",
            )
        overviews = dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE")
        if overviews is not None:
            raise self.error(
                "the file refers to another file for its overviews",
                self.scene,
                path,
                got=overviews,
                hint="make overviews again, in the file or beside it (gdaladdo), and remove the item OVERVIEW_FILE "
                "from it or its .aux.xml",
            )
        if dataset.driver == "HFA":
            self._check_spilled(dataset, path, place)
        if is_remote(path) and {*dataset.files} - {place.name}:
            raise self.error(
                "an image elsewhere is read with other files, which are not pinned",
                self.scene,
                path,
                expected="an image in one file",
                got=", ".join(sorted({*dataset.files} - {place.name})),
                hint="make one file of it (gdal_translate IN out.tif), or fetch all of it first",
            )
        if dataset.count:
            check_size(dataset, path, self.error, self.scene)
        if place.file and not PARTS.fullmatch(path):
            self._check_beside(place.name)

    def _check_links(self, path: str, file: Path) -> None:
        """Raise ``error`` if an HDF5 or netCDF file refers to other files, or has a cycle of groups."""
        library = str(rasterio._base.__file__)  # noqa: SLF001 (an extension linked with it)
        wrong = _LINKS.of(file, partial(outward, file, library))
        if wrong is not None:
            raise self.error(
                "the file refers to other files for its values, or its content can't be listed",
                self.scene,
                path,
                expected="HDF5 or netCDF that holds its own values, without cycles of groups",
                got=wrong,
                hint="make a GeoTIFF of it where it is trusted: gdal_translate IN out.tif",
            )

    def _check_spilled(self, dataset: Any, path: str, place: Place) -> None:
        """Raise ``error`` if an ERDAS file refers to a file in another folder for its pixels or overviews."""
        folder = os.path.dirname(os.path.normpath(place.name))  # noqa: PTH120 (it may be an address)
        for other in dataset.files:
            if os.path.dirname(os.path.normpath(other)) != folder:  # noqa: PTH120
                raise self.error(
                    "the file refers to a file in another folder for its pixels or overviews",
                    self.scene,
                    path,
                    got=other,
                    hint="make a GeoTIFF of it where it is trusted: gdal_translate IN out.tif",
                )

    def _check_beside(self, name: str) -> None:
        """Raise ``error`` if a file that GDAL would read as overviews or mask is not a TIFF."""
        for beside in (name + ending for ending in COMPANIONS):
            start = first_bytes(beside, 4)
            if start is None:
                continue
            if not start.startswith(TIFF):
                raise self.error(
                    "the file with the image's overviews or mask is not a TIFF",
                    self.scene,
                    beside,
                    hint="make it again (gdaladdo -ro, or gdal_translate -co …), or delete it",
                )
            self._opened(beside, Place(beside, ("GTiff",), Path(beside), alone=True)).close()
        for beside in _auxiliary(name):
            if first_bytes(beside, len(ERDAS)) == ERDAS:
                self._opened(beside, Place(beside, ("HFA",), None, alone=True)).close()

    def _judged(self, path: str, chain: tuple[str, ...], root: Path) -> int:
        """Check a file that refers to others, and these too; return the number of references followed.

        All of them must lie below ``root`` or the project's root.
        """
        file = os.path.abspath(path)  # noqa: PTH100 (links stay)
        if _among(file, chain) or len(chain) >= DEPTH:
            got = " → ".join(os.path.relpath(each, root) for each in (*chain, file))
            raise self._reference(chain[0], "files refer to each other without end", got)
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
            raise self._reference(chain[-1], "the name of a file that it refers to is ambiguous", name)
        try:
            place = self._place(name, referred=True)
        except OSError as cause:
            raise self._reference(chain[-1], "a file that it refers to is missing", cause) from cause
        assert place.file is not None
        own = os.path.abspath(place.file)  # noqa: PTH100 (links stay)
        if not any(Path(own).is_relative_to(folder) for folder in (root, Path.cwd())):
            raise self._reference(chain[-1], "the file refers to a file outside the project", name)
        if place.formats in FORMS.values():
            return self._judged(own, chain, root)
        if "/" not in name and any(first_bytes(one, len(ERDAS)) == ERDAS for one in (name, *_auxiliary(name))):
            raise self._reference(chain[-1], "an ERDAS file needs its folder in the path", name)
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
"""References that were checked, because a mosaic of many files is opened several times."""

_LINKS: FileMemo[str | None] = FileMemo()
"""Problems with the links of HDF5 files."""


_with_credentials = ensure_env_with_credentials(DatasetReader)
"""The class that ``rasterio.open`` calls; used directly, because it takes a list of drivers."""


def _reader(name: str, formats: Sequence[str]) -> Any:
    return _with_credentials(name, driver=[*formats])


def open_raster(path: str, error: type[QuadratError] = ImageError, scene: str | None = None) -> Any:
    """Open a user's raster; raise ``error`` if it is not allowed, and rasterio's errors if it is damaged."""
    return Opener(error, scene).open(path)


def called(path: str) -> str:
    """Return GDAL's own name of a path that was checked here."""
    if is_remote(path) or PARTS.fullmatch(path):
        return gdal_name(path)
    if ARCHIVE.match(path):
        return str(_vsi_path(_parse_path(path)))
    return _whole(path.removeprefix("file://"))


def open_virtual(text: str) -> Any:
    """Open a virtual raster of checked files; this program wrote its XML ``text``."""
    return _reader(text, ("VRT",))


def _whole(path: str) -> str:
    """Return a path that GDAL can't parse as a format, and that has a folder for the names in an ERDAS file."""
    bare = not os.path.isabs(path) and (":" in path or "/" not in path)  # noqa: PTH117 (an empty one stays so)
    return f"./{path}" if bare else path


def _auxiliary(name: str) -> tuple[str, str]:
    """Return GDAL's names of the files beside an image in which it looks for ERDAS overviews."""
    return os.path.splitext(name)[0] + ".aux", name + ".aux"  # noqa: PTH122 (it may be in an archive)


def _part(found: re.Match[str]) -> tuple[str, str]:
    """Return the kind and the path of the container that a path is a part of."""
    kind = found["kind"] or found["numbered"]
    return kind.upper(), found["quoted"] or found["bare"] or found["file"]


def _among(file: str, others: Sequence[str]) -> bool:
    """Return whether a file is one of ``others``, by any name."""
    return os.path.realpath(file) in map(os.path.realpath, others)


def _existing(within: Path) -> Path:
    """Return the archive that a path goes into."""
    while not within.exists() and within != within.parent:
        within = within.parent
    return within
