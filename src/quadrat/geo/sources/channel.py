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
    """The files of a band, and the meaning of its values according to the catalog or STAC items."""

    name: str
    pieces: tuple[tuple[str, int], ...]
    """Files that form the band, and its number in each, from 1; the first file with a value is used."""
    unit: str | None
    """None: the files' unit, or DN if they have none."""
    scale: float | None
    """None, for ``offset`` too: the files' values, or 1 and 0 if they have none."""
    offset: float | None
    nodata: float | None
    """The raw value for no data; None: the files' value."""
    resampling: str
    mask: bool | None
    """Whether the files' mask or alpha band is used; None: if they have one."""
    ignore_tags: bool
    """Whether scale, offset and nodata may contradict the files."""
    numbers: frozenset[int]
    """The numbers of all named bands; an alpha band among them is an ordinary band."""
    alone: bool
    """Whether its files must hold no other band except alpha."""
    date: str | None
    """The date in a time series; None if the image has no dates."""

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
    """The mask band of each date; empty if all pixels with values count."""
    clear: tuple[int, ...]
    """The mask's values of valid pixels."""
    target: TargetGrid | None = None
    """The grid that the image is resampled to; None: the grid of the files."""


def is_remote(path: str) -> bool:
    """Return whether the path is remote."""
    return path.partition("://")[0] in REMOTE if "://" in path else path.startswith(tuple(REMOTE.values()))


def gdal_name(path: str) -> str:
    """Return GDAL's name of the file; GDAL finds credentials in the environment."""
    scheme, separator, rest = path.partition("://")
    return REMOTE[scheme] + rest if separator and scheme in REMOTE else path


def expand(path: str) -> tuple[str, ...]:
    """Return the files that match a local pattern (``*``, ``?``, ``[…]``, ``**``), sorted; a plain path stays."""
    if is_remote(path) or not glob.has_magic(path) or Path(path).exists():
        return (path,)
    found = tuple(sorted(glob.glob(path, recursive=True)))  # noqa: PTH207 (a whole path, also an absolute one)
    if not found:
        raise ImageError("no file matches the pattern", file=path, hint="check the path in the catalog")
    return found
