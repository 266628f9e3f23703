"""The GDAL that rasterio has, asked directly: for what rasterio doesn't pass on, and for what needs none of it."""

import ctypes
import os
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path


@cache
def gdal_version() -> str:
    """Return the version of the GDAL that rasterio works with, without loading all of rasterio."""
    try:
        library = gdal()
        library.GDALVersionInfo.restype = ctypes.c_char_p
        return str(library.GDALVersionInfo(b"RELEASE_NAME").decode())
    except (OSError, AttributeError):  # a system where symbols aren't found in what a library is linked with
        from rasterio import __gdal_version__

        return str(__gdal_version__)


@cache
def gdal() -> ctypes.CDLL:
    """Return the library that rasterio reads with, for calls that leave the interpreter to other threads.

    Raises OSError where it isn't found.
    """
    spec = find_spec("rasterio")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("there is no rasterio")
    files = [Path(spec.origin).with_name(f"_base{suffix}") for suffix in EXTENSION_SUFFIXES]
    return ctypes.CDLL(next((str(file) for file in files if file.is_file()), spec.origin))


def identified(name: str) -> str | None:
    """Return the driver that GDAL takes by itself for what it calls ``name``, by its first bytes; None for none."""
    library = _calls()
    driver = library.GDALIdentifyDriver(name.encode(), None)
    return None if driver is None else str(library.GDALGetDriverShortName(driver).decode())


def first_bytes(name: str, count: int) -> bytes | None:
    """Return the first bytes of a file that GDAL calls ``name``, also one in an archive; None where there is none."""
    library = _calls()
    file = library.VSIFOpenL(name.encode(), b"rb")
    if file is None:
        return None
    try:
        content = ctypes.create_string_buffer(count)
        read = library.VSIFReadL(content, 1, count, file)
        return content.raw[:read]
    finally:
        library.VSIFCloseL(file)


def size(name: str) -> int:
    """Return the bytes of a file that GDAL calls ``name``; 0 where there is none."""
    library = _calls()
    file = library.VSIFOpenL(name.encode(), b"rb")
    if file is None:
        return 0
    try:
        library.VSIFSeekL(file, 0, os.SEEK_END)
        return int(library.VSIFTellL(file))
    finally:
        library.VSIFCloseL(file)


@cache
def _calls() -> ctypes.CDLL:
    library = gdal()
    library.GDALIdentifyDriver.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    library.GDALIdentifyDriver.restype = ctypes.c_void_p
    library.GDALGetDriverShortName.argtypes = [ctypes.c_void_p]
    library.GDALGetDriverShortName.restype = ctypes.c_char_p
    library.VSIFOpenL.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    library.VSIFOpenL.restype = ctypes.c_void_p
    library.VSIFReadL.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p]
    library.VSIFReadL.restype = ctypes.c_size_t
    library.VSIFSeekL.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int]
    library.VSIFTellL.argtypes = library.VSIFCloseL.argtypes = [ctypes.c_void_p]
    library.VSIFTellL.restype = ctypes.c_uint64
    return library
