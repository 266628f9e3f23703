"""Channels: the files and the meaning of a band. Opens nothing."""

import glob
import re
from dataclasses import dataclass
from pathlib import Path

from quadrat.errors import ImageError
from quadrat.geo.grids.resampling import ResamplingName
from quadrat.geo.sources.target_grid import TargetGrid

REMOTE = {"s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/", "http": "/vsicurl/http://", "https": "/vsicurl/https://"}
"""GDAL's prefixes of schemes in paths."""

SCHEMES = ", ".join(f"{scheme}://" for scheme in REMOTE)
"""The supported schemes, for errors."""

CALLED = re.compile(
    r"/?vsi(?P<store>s3|gs|az)(?:_streaming)?/(?P<key>[^\"{}!]+)|(?P<scheme>s3|gs|az|https?)://(?P<rest>[^\"{}!]+)",
    re.IGNORECASE,
)
"""Pattern of the object on another machine that GDAL or another library may find in a path, by any spelling."""


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
    resampling: ResamplingName
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
    """Return whether the path is a remote object by a supported spelling; all others are refused (``elsewhere``)."""
    return path.startswith((*(f"{scheme}://" for scheme in REMOTE), *REMOTE.values()))


def elsewhere(path: str) -> bool:
    """Return whether the path may lead to another machine, but not by a supported spelling.

    Only supported spellings are pinned, so nothing else may be read from another machine: GDAL has many prefixes, and
    formats such as netCDF read addresses themselves.
    """
    return not is_remote(path) and (path.startswith("/vsi") or "://" in path.removeprefix("file://"))


def spelling(path: str) -> str | None:
    """Return a hint how to spell a path if it may lead to another machine, as it is or as a part; else None."""
    found = CALLED.search(path)
    if found is None:
        return "correct the path" if elsewhere(path) else None
    called = f"{(found['store'] or found['scheme']).lower()}://{found['key'] or found['rest']}"
    if re.fullmatch(r"(/vsicurl(_streaming)?(/|\?(.*&)?url=))?", path[: found.start()]):
        return f"write it as {called}"
    return f"fetch the file or archive first, for a part of {called} can't be pinned"


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
        hint = spelling(path) or "check the path in the catalog"
        raise ImageError("no file matches the pattern", file=path, hint=hint)
    return found
