"""Calls of GDAL's C functions that rasterio does not wrap, in the same library that rasterio uses."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

NOT_FOUND = 8
"""GDAL's error number (VSIE_ObjectNotFound) for a missing key of an object store."""

POINTER, TEXT, TEXTS = ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p)


def identified(name: str) -> str | None:
    """Return the driver that GDAL chooses for the file ``name`` from its first bytes; None if there is none."""
    driver = _gdal().GDALIdentifyDriver(name.encode(), None)
    return None if driver is None else str(_gdal().GDALGetDriverShortName(driver).decode())


def first_bytes(name: str, count: int) -> bytes | None:
    """Return the first bytes of the file ``name`` (a GDAL path, also in an archive); None if it does not exist."""
    with _file(name) as file:
        if file is None:
            return None
        content = ctypes.create_string_buffer(count)
        read = _gdal().VSIFReadL(content, 1, count, file)
        return content.raw[:read]  # after the call: ``raw`` is a copy


def size(name: str) -> int:
    """Return the size in bytes of the file ``name`` (a GDAL path); 0 if it does not exist."""
    with _file(name) as file:
        if file is None:
            return 0
        _gdal().VSIFSeekL(file, 0, os.SEEK_END)
        return int(_gdal().VSIFTellL(file))


def headers(name: str) -> dict[str, str] | str | None:
    """Return the server's current headers of the object ``name`` (a GDAL path), with lower-case names.

    Returns None for a missing object, and the error as text if the server gives no headers.
    """
    gdal = _gdal()
    gdal.CPLPushErrorHandler(gdal.CPLQuietErrorHandler)
    try:
        gdal.VSICurlPartialClearCache(name.encode())  # later reads must not come from an older cache
        gdal.VSIErrorReset()
        lines = gdal.VSIGetFileMetadata(name.encode(), b"HEADERS", None)
        number, problem = gdal.VSIGetLastErrorNo(), gdal.VSIGetLastErrorMsg().decode(errors="replace")
    finally:
        gdal.CPLPopErrorHandler()
    if not lines:
        missing = number == NOT_FOUND or problem.endswith((": 404", ": 410"))
        return None if missing else problem or "no answer"
    pairs = (lines[number].decode(errors="replace").partition("=") for number in range(gdal.CSLCount(lines)))
    found = {header.lower(): value.strip() for header, _, value in pairs}
    gdal.CSLDestroy(lines)
    return found


@contextmanager
def _file(name: str) -> Iterator[int | None]:
    file = _gdal().VSIFOpenL(name.encode(), b"rb")
    try:
        yield file
    finally:
        if file is not None:
            _gdal().VSIFCloseL(file)


@cache
def _gdal() -> ctypes.CDLL:
    """Return the library; its calls release the interpreter lock."""
    import rasterio._base

    library = ctypes.CDLL(rasterio._base.__file__)  # noqa: SLF001 (an extension that is linked with it)
    for name, gives, *takes in (
        ("CPLPushErrorHandler", None, POINTER),
        ("CSLCount", ctypes.c_int, TEXTS),
        ("CSLDestroy", None, TEXTS),
        ("GDALGetDriverShortName", TEXT, POINTER),
        ("GDALIdentifyDriver", POINTER, TEXT, POINTER),
        ("VSIFCloseL", ctypes.c_int, POINTER),
        ("VSIFOpenL", POINTER, TEXT, TEXT),
        ("VSIFReadL", ctypes.c_size_t, POINTER, ctypes.c_size_t, ctypes.c_size_t, POINTER),
        ("VSIFSeekL", ctypes.c_int, POINTER, ctypes.c_uint64, ctypes.c_int),
        ("VSIFTellL", ctypes.c_uint64, POINTER),
        ("VSIGetFileMetadata", TEXTS, TEXT, TEXT, POINTER),
        ("VSIGetLastErrorMsg", TEXT),
    ):
        call = getattr(library, name)
        call.restype, call.argtypes = gives, takes
    return library
