"""The GDAL that rasterio has, asked directly: for what rasterio doesn't pass on, and for what needs none of it."""

import ctypes
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
