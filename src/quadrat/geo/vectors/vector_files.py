"""Opens vector files: plain files only, each with the one driver of its ending.

GDAL identifies files by their content, not by their name: a ``.geojson`` may be a virtual layer that refers to other
files or to a server. Some drivers also send requests to addresses in a file, such as that of a CRS.
"""

import ctypes
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from quadrat.geo.geometry.wkb import of_polygons
from quadrat.geo.sources.channel import gdal_name, is_remote
from quadrat.geo.vectors.geopackages import check_views
from quadrat.runtime.cache.file_memo import FileMemo

if TYPE_CHECKING:
    import geopandas
    import pandas as pd

PARQUET = ".parquet"

DRIVERS = {
    ".csv": "CSV",
    ".fgb": "FlatGeobuf",
    ".geojson": "GeoJSON",
    ".geojsonl": "GeoJSONSeq",
    ".geojsons": "GeoJSONSeq",
    ".gpkg": "GPKG",
    ".json": "GeoJSON",
    ".shp": "ESRI Shapefile",
}
"""GDAL's names of the allowed formats, by ending; GeoParquet is read without GDAL."""

SINGLE = frozenset(DRIVERS) - {".gpkg"}
"""Endings of formats with one layer per file."""

UNORDERED = frozenset({".fgb"})
"""Endings of formats that may hold features in another order than they were written: by their place."""

SHALLOW = 1000
"""Geometries with at most this many bytes can't nest collections deeply."""

COLLECTIONS = {7, 1007, 2007, 3007}
"""Types of collections in well-known binary, without flags."""

DRIVERS_LOCK = RLock()
"""Guards the drivers of pyogrio's GDAL, which the whole process shares, because reading removes most of them."""


_VIEWS: FileMemo[None] = FileMemo()
"""GeoPackages whose views were checked, because a file is opened for its layers and again for its features."""


class AddressError(ValueError):
    """A file refers to an address, which is not requested."""


def ending(path: str) -> str | None:
    """Return a file's ending; None if no supported format has it."""
    found = _suffix(path)
    return found if found in {*DRIVERS, PARQUET} else None


def read(path: str, layer: str | None = None, **options: Any) -> "geopandas.GeoDataFrame | pd.DataFrame":
    """Return the features of a file, of its first layer or the one named, by ``pyogrio.read_dataframe`` with options.

    Raises OSError if it is not a plain file, and all errors of the libraries.
    """
    import pyogrio

    if ending(path) == PARQUET:
        return _parquet(path)
    with opening(path) as name:
        first = 0 if _suffix(path) == ".gpkg" else None  # others may be styles of QGIS, of which pyogrio would warn
        frame = pyogrio.read_dataframe(name, layer=first if layer is None else layer, **options)
        if _suffix(path) == ".fgb" and pyogrio.read_info(name)["features"] > len(frame):
            raise ValueError("the file is cut short: it holds fewer features than it says")
        return frame


def layers(path: str) -> list[tuple[str, str | None]]:
    """Return the names of a file's layers, and each one's geometry type; None for a table."""
    import pyogrio

    with opening(path) as name:
        return [(str(layer), kind) for layer, kind in pyogrio.list_layers(name)]


def information(path: str) -> dict[str, Any]:
    """Return the result of ``pyogrio.read_info`` for a file."""
    import pyogrio

    with opening(path) as name:
        return dict(pyogrio.read_info(name))


@contextmanager
def opening(path: str) -> Iterator[str]:
    """Leave GDAL one driver, that of the file's ending, and no network except for the file itself; yield its name.

    Raises ValueError if the ending is not in DRIVERS, AddressError if the file refers to an address.
    """
    suffix = _suffix(path)
    if suffix not in DRIVERS:
        raise ValueError(f"the ending '{suffix}' is not one of {', '.join(DRIVERS)}")
    check_plain(path)
    if suffix == ".gpkg" and not is_remote(path):
        _VIEWS.of(Path(path), partial(check_views, Path(path)))
    # an absolute path, because a name such as "PG:a.gpkg" would mean a server
    name = gdal_name(path) if is_remote(path) else os.path.abspath(path)  # noqa: PTH100 (a link stays one)
    with DRIVERS_LOCK, _alone(DRIVERS[suffix]), _offline():
        yield name


def check_plain(path: str) -> None:
    """Raise OSError if a local path, or a file that belongs to it, is not a plain file; a pipe may never end."""
    if is_remote(path):
        return
    own = Path(path)
    if not stat.S_ISREG(own.stat().st_mode):
        raise OSError(f"{path} is not a plain file")
    if own.suffix.lower() in {".shp", ".csv", ".gpkg"}:
        beside = (one for one in os.scandir(own.parent) if one.name.startswith((f"{own.stem}.", f"{own.name}-")))
        odd = [one.name for one in beside if not one.is_file() and not one.is_dir()]
        if odd:
            raise OSError(f"{odd[0]}, beside it, is not a plain file")


def _suffix(path: str) -> str:
    name = path.partition("?")[0] if is_remote(path) else path
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (it may be an address)


def _parquet(path: str) -> "geopandas.GeoDataFrame":
    import geopandas

    check_plain(path)
    if not is_remote(path):
        _check_depth(path)
    return geopandas.read_parquet(path)


def _check_depth(path: str) -> None:
    """Raise RecursionError if collections are nested so deeply that GEOS, which has no limit, would crash."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        kinds = {field.name: field.type for field in file.schema_arrow}
        binary = [name for name, kind in kinds.items() if pa.types.is_binary(kind) or pa.types.is_large_binary(kind)]
        for batch in file.iter_batches(1024, columns=binary) if binary else ():
            for column in batch.columns:
                for value in column.filter(pc.greater(pc.binary_length(column), SHALLOW)).to_pylist():
                    if int.from_bytes(value[1:5], "little" if value[0] else "big") & 0xFFFF in COLLECTIONS:
                        of_polygons(value)


@contextmanager
def _alone(driver: str) -> Iterator[None]:
    """Remove all drivers except one and the memory driver from GDAL's list meanwhile; open files stay open."""
    gdal = _gdal()
    drivers = [gdal.GDALGetDriver(number) for number in range(gdal.GDALGetDriverCount())]
    others = [one for one in drivers if gdal.GDALGetDriverShortName(one).decode() not in {driver, "MEM", "Memory"}]
    for one in others:
        gdal.GDALDeregisterDriver(one)
    try:
        yield
    finally:
        for one in others:
            gdal.GDALRegisterDriver(one)


@contextmanager
def _offline() -> Iterator[None]:
    """Answer the requests of GDAL's drivers in this thread with nothing; raise AddressError if there were any."""
    gdal = _gdal()
    asked: list[str] = []

    def answer(address: bytes, *_: Any) -> int:
        asked.append(address.decode(errors="replace"))
        reply: int = gdal.VSICalloc(1, _REPLY)  # GDAL frees it
        ctypes.c_int.from_address(reply).value = 1  # a status other than success
        return reply

    fetch = _FETCH(answer)
    gdal.CPLHTTPPushFetchCallback(fetch, None)
    try:
        yield
    finally:
        gdal.CPLHTTPPopFetchCallback()
    if asked:
        raise AddressError(f"the file refers to an address, which is not requested: {asked[0][:200]}")


_FETCH = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p, *[ctypes.c_void_p] * 5)
"""CPLHTTPFetchCallbackFunc of ``cpl_http.h``."""

_REPLY = 1024
"""Bytes; more than a CPLHTTPResult has."""


@cache
def _gdal() -> ctypes.CDLL:
    """Return the GDAL library that pyogrio uses."""
    from pyogrio import _io

    library = ctypes.CDLL(_io.__file__)
    library.GDALGetDriver.restype = ctypes.c_void_p
    library.GDALGetDriver.argtypes = [ctypes.c_int]
    library.GDALGetDriverShortName.restype = ctypes.c_char_p
    library.VSICalloc.restype = ctypes.c_void_p
    library.VSICalloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
    for function in (library.GDALGetDriverShortName, library.GDALDeregisterDriver, library.GDALRegisterDriver):
        function.argtypes = [ctypes.c_void_p]
    library.CPLHTTPPushFetchCallback.argtypes = [_FETCH, ctypes.c_void_p]
    return library
