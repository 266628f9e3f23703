"""Stamps: what a server says of an object, by which another in its place is noticed.

GDAL itself asks, so with the credentials, endpoint, headers and proxy that it will read with, of S3, Google, Azure and
the web alike. Python's binding has no such call, so it is made at the C interface of the GDAL that it holds.
"""

import ctypes
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import Field

from quadrat.errors import PinError
from quadrat.geo.sources.channel import gdal_name
from quadrat.runtime.cache.gdal import gdal
from quadrat.runtime.formats.section import Section

NOT_FOUND = 8
"""GDAL's number (VSIE_ObjectNotFound) of what object stores say of a key that isn't there."""


class Stamp(Section):
    """What a server says of an object; two objects of one stamp are taken for the same."""

    etag: str | None = None
    """Its ETag without quotes, or None."""
    modified: str | None = None
    """Where there is no ETag, when it was last modified, as the server writes it."""
    size: int = Field(ge=0)
    """Bytes."""

    def __str__(self) -> str:
        """Return what is known, in one line."""
        known = f"etag {self.etag}" if self.etag else f"modified {self.modified}" if self.modified else None
        return ", ".join(filter(None, [known, f"{self.size} bytes"]))


def stamp(address: str) -> Stamp | None:
    """Return the stamp of the object that is at ``address`` now, None where there is none.

    Costs one request. Raises PinError where the server doesn't say: it isn't reached, or refuses.
    """
    from quadrat.geo.files.raster_files import environment

    with environment((address,)):
        said = _headers(gdal_name(address))
    if said is None:
        return None
    if isinstance(said, str):
        raise PinError(
            "the server doesn't say what the object is",
            file=address,
            got=said,
            hint="check the address, the network, and the credentials and endpoint that the environment gives (AWS_…)",
        )
    size = _size(said)
    if size is None:
        got = ", ".join(f"{name}: {value}" for name, value in said.items())
        raise PinError("the server doesn't say how large the object is", file=address, got=got)
    etag = said.get("etag", "").replace('"', "") or None
    return Stamp(etag=etag, modified=None if etag else said.get("last-modified"), size=size)


def _size(said: Mapping[str, str]) -> int | None:
    """Return the whole object's size: of an answer with a part of it, what stands behind the range."""
    whole = said.get("content-range", "").rpartition("/")[2] or said.get("content-length", "")
    return int(whole) if whole.isdigit() else None


def _headers(name: str) -> dict[str, str] | str | None:
    """Return the headers of the object that GDAL calls ``name``, their names in small letters.

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
    said = {}
    for number in range(gdal.CSLCount(lines)):
        header, _, value = lines[number].decode(errors="replace").partition("=")
        said[header.lower()] = value.strip()
    gdal.CSLDestroy(lines)
    return said


@cache
def _gdal() -> Any:
    """Return the library that rasterio reads with, for calls that leave the interpreter to other threads."""
    library = gdal()
    texts = ctypes.POINTER(ctypes.c_char_p)
    library.VSIGetFileMetadata.restype = texts
    library.VSIGetFileMetadata.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
    library.VSIGetLastErrorMsg.restype = ctypes.c_char_p
    library.CPLPushErrorHandler.argtypes = [ctypes.c_void_p]
    library.CSLCount.argtypes = library.CSLDestroy.argtypes = [texts]
    return library
