"""Calls of GDAL's C interface that rasterio lacks, at the library that rasterio reads with."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

NOT_FOUND = 8
"""GDAL's number (VSIE_ObjectNotFound) of what object stores say of a key that isn't there."""

POINTER, TEXT, TEXTS = ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p)


def identified(name: str) -> str | None:
    """Return the driver that GDAL takes by itself for what it calls ``name``, by its first bytes; None for none."""
    driver = _gdal().GDALIdentifyDriver(name.encode(), None)
    return None if driver is None else str(_gdal().GDALGetDriverShortName(driver).decode())


def first_bytes(name: str, count: int) -> bytes | None:
    """Return the first bytes of a file that GDAL calls ``name``, also one in an archive; None if there is none."""
    with _file(name) as file:
        if file is None:
            return None
        content = ctypes.create_string_buffer(count)
        read = _gdal().VSIFReadL(content, 1, count, file)
        return content.raw[:read]  # after the call: ``raw`` is a copy


def size(name: str) -> int:
    """Return the bytes of a file that GDAL calls ``name``; 0 where there is none."""
    with _file(name) as file:
        if file is None:
            return 0
        _gdal().VSIFSeekL(file, 0, os.SEEK_END)
        return int(_gdal().VSIFTellL(file))


def headers(name: str) -> dict[str, str] | str | None:
    """Return what a server says now of the object that GDAL calls ``name``: headers, their names in small letters.

    Of one that isn't there None, and of one of which nothing is told, what went wrong.
    """
    gdal = _gdal()
    gdal.CPLPushErrorHandler(gdal.CPLQuietErrorHandler)
    try:
        gdal.VSICurlPartialClearCache(name.encode())  # what is read later is no older than what is told now
        gdal.VSIErrorReset()
        lines = gdal.VSIGetFileMetadata(name.encode(), b"HEADERS", None)
        number, problem = gdal.VSIGetLastErrorNo(), gdal.VSIGetLastErrorMsg().decode(errors="replace")
    finally:
        gdal.CPLPopErrorHandler()
    if not lines:
        missing = number == NOT_FOUND or problem.endswith((": 404", ": 410"))
        return None if missing else problem or "no answer"
    said = (lines[number].decode(errors="replace").partition("=") for number in range(gdal.CSLCount(lines)))
    found = {header.lower(): value.strip() for header, _, value in said}
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
    """Return the library, whose calls leave the interpreter to other threads."""
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
