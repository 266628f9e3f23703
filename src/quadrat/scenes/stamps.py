"""Stamps: a server's description of an object (ETag, size, date); ``scenes.pins`` compares them.

GDAL makes the request, with the same credentials, endpoint, headers and proxy as for reading.
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
        """Return the stamp as one line."""
        known = f"etag {self.etag}" if self.etag else f"modified {self.modified}" if self.modified else None
        return ", ".join(filter(None, [known, f"{self.size} bytes"]))


def stamp(address: str) -> Stamp | None:
    """Return the current stamp of the object at ``address``; None if it is missing.

    Takes one request. Raises PinError if the server can't be reached or refuses.
    """
    from quadrat.geo.files.raster_files import environment

    with environment((address,)):
        reply = headers(gdal_name(address))
    if reply is None:
        return None
    if isinstance(reply, str):
        raise PinError(
            "the server doesn't describe the object",
            file=address,
            got=reply,
            hint="check the address, the network, and the credentials and endpoint in the environment (AWS_…)",
        )
    size = _size(reply)
    if size is None:
        got = ", ".join(f"{name}: {value}" for name, value in reply.items())
        raise PinError("the server doesn't say how large the object is", file=address, got=got)
    etag = reply.get("etag", "").replace('"', "") or None
    return Stamp(etag=etag, modified=None if etag else reply.get("last-modified"), size=size)


def _size(reply: Mapping[str, str]) -> int | None:
    """Return the size of the whole object; in a partial response, it stands after the range."""
    whole = reply.get("content-range", "").rpartition("/")[2] or reply.get("content-length", "")
    return int(whole) if whole.isdigit() else None
