"""Stamps: what a server says of an object (ETag, size, date); ``scenes.pins`` compares them.

GDAL itself asks, so with the credentials, endpoint, headers and proxy that it will read with, of S3, Google, Azure and
the web alike.
"""

from collections.abc import Mapping

from pydantic import Field

from quadrat.errors import PinError
from quadrat.geo.files.gdal import headers
from quadrat.geo.sources.channel import gdal_name
from quadrat.runtime.formats.section import Section


class Stamp(Section):
    """A server's description of an object; objects with equal stamps count as equal."""

    etag: str | None = None
    """Its ETag without quotes, or None."""
    modified: str | None = None
    """Without an ETag, the time of the last change, as the server writes it."""
    size: int = Field(ge=0)
    """Bytes."""

    def __str__(self) -> str:
        """Return what is known, in one line."""
        known = f"etag {self.etag}" if self.etag else f"modified {self.modified}" if self.modified else None
        return ", ".join(filter(None, [known, f"{self.size} bytes"]))


def stamp(address: str) -> Stamp | None:
    """Return the current stamp of the object at ``address``; None if it is missing.

    Costs one request. Raises PinError if the server doesn't say: it isn't reached, or refuses.
    """
    from quadrat.geo.files.raster_files import environment

    with environment((address,)):
        said = headers(gdal_name(address))
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
