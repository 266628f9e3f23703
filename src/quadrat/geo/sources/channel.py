"""Channels: the files and the meaning of a band. Opens nothing."""

import glob
from dataclasses import dataclass
from pathlib import Path

from quadrat.errors import ImageError
from quadrat.geo.sources.target_grid import TargetGrid

REMOTE = {"s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/", "http": "/vsicurl/http://", "https": "/vsicurl/https://"}
"""GDAL's prefixes of schemes in paths."""


@dataclass(frozen=True)
class Channel:
    """Where a band's pixels are, and what is said that they mean: by the catalog, or by STAC items."""

    name: str
    pieces: tuple[tuple[str, int], ...]
    """Files that make up the band together, and its number in each, from 1; the first with a value counts."""
    unit: str | None
    """None: what the files say, and DN where they say nothing."""
    scale: float | None
    """None, and ``offset`` too: what the files say, and 1 and 0 where they say nothing."""
    offset: float | None
    nodata: float | None
    """The raw value that is none; None: what the files say."""
    resampling: str
    mask: bool | None
    """Whether the files' mask or alpha band counts; None: where they have one."""
    ignore_tags: bool
    """Whether scale, offset and nodata may contradict what the files say."""
    numbers: frozenset[int]
    """The numbers of all bands that are named: an alpha band among them is a band like others."""
    alone: bool
    """Whether its files are to hold no other band (but alpha)."""
    date: str | None
    """Of a time series, the date on which they were seen; None if the image has no dates."""

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of the files."""
        return tuple(path for path, _ in self.pieces)


@dataclass(frozen=True)
class Origin:
    """The channels of an image."""

    grid: Channel
    """The channel whose files' grid is the image's."""
    channels: tuple[Channel, ...]
    """The bands that are read; of a time series all bands of the first date, then all of the next."""
    telling: tuple[Channel, ...]
    """The band that tells which pixels count, on each date; none where all do that have values."""
    clear: tuple[int, ...]
    """Its values where they count."""
    target: TargetGrid | None = None
    """What the image is brought to; None: the grid of the files."""


def is_remote(path: str) -> bool:
    """Return whether the path is remote."""
    return path.partition("://")[0] in REMOTE if "://" in path else path.startswith(tuple(REMOTE.values()))


def gdal_name(path: str) -> str:
    """Return what GDAL calls the file; it finds credentials in the environment, as its own programs do."""
    scheme, separator, rest = path.partition("://")
    return REMOTE[scheme] + rest if separator and scheme in REMOTE else path


def expand(path: str) -> tuple[str, ...]:
    """Return the files that a local pattern (``*``, ``?``, ``[…]``, ``**``) means, sorted; a path is its own."""
    if is_remote(path) or not glob.has_magic(path) or Path(path).exists():
        return (path,)
    found = tuple(sorted(glob.glob(path, recursive=True)))  # noqa: PTH207 (a whole path, also an absolute one)
    if not found:
        raise ImageError("no file matches the pattern", file=path, hint="check the path in the catalog")
    return found
