"""What the server is given, and what it refuses."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """Bounds of requests, in bytes, px and seconds."""

    upload: int = 1 << 30
    """Bytes of an image that is sent."""
    body: int = 1 << 16
    """Bytes of any other request."""
    direct: int = 2048 * 2048
    """Px of the windows of an image that is predicted while the request waits; larger ones become jobs."""
    pixels: int = 1 << 32
    """Px of an image that is predicted at all."""
    row: int = 8 << 30
    """Bytes of bands and scores of a row of windows, which memory holds."""
    bands: int = 1024
    block: int = 256 << 20
    """Bytes of what is decoded at once of an image that is sent."""
    uploads: int = 4
    """Images that are received at once."""
    pause: float = 20.0
    """Seconds between two pieces of a request, and for its head."""
    receiving: float = 900.0
    """Seconds for a whole request."""
    side: int = 2048
    """Largest side of a preview or a box, px."""
    waiting_jobs: int = 16
    kept_jobs: int = 200
    job_bytes: int = 20 << 30
    """Bytes of all jobs together."""
    connections: int = 512
    ending: float = 20.0
    """Seconds for what runs when the server is told to end."""


@dataclass(frozen=True)
class Access:
    """Who may ask."""

    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    """Names by which the server may be called, without ports: a foreign page can't reach it by a name of its own."""
    token: str | None = field(default=None, repr=False)
    origins: tuple[str, ...] = ()
    """Pages of other hosts that may ask."""


@dataclass(frozen=True)
class Place:
    """Folders of the server."""

    cache: Path
    jobs: Path
    cache_bytes: int = 2 << 30
