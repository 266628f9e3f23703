"""An open image: bands on one grid, on each of its dates, read by window."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from quadrat.errors import ImageError
from quadrat.geo.files.file_errors import listed
from quadrat.geo.files.raster_files import Header, header, opened
from quadrat.geo.geometry.accuracy import doubtful_place
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window, strips, tiles
from quadrat.geo.reading.layout import described, layouts
from quadrat.geo.reading.mosaic import mosaic
from quadrat.geo.reading.parallel_reader import read_side_by_side
from quadrat.geo.reading.reader import TALL, Reader
from quadrat.geo.sources.bands import Band, dates_of, is_valid, undated
from quadrat.geo.sources.channel import Channel, Origin
from quadrat.runtime.memory import Empty, Memory

if TYPE_CHECKING:
    import xarray

AHEAD_BYTES = 256 * 1024 * 1024
"""Largest number of bytes of an image that up to four threads read ahead; each further thread adds a quarter."""

TILE_BYTES = 8 * 1024 * 1024
"""Largest size in bytes of a piece of an image, if whole rows are not needed and blocks are not larger."""


@dataclass(frozen=True)
class Strip:
    """Pixels of a window: ``values`` (band, y, x), raw; of a time series all bands of a date, then of the next."""

    window: Window
    values: NDArray[Any]
    seen: NDArray[np.bool_]
    """(date, y, x), True where every band has a value on that date; an image without dates has one."""

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """(y, x), True where every band has a value, on one date at least."""
        some: NDArray[np.bool_] = self.seen[0] if len(self.seen) == 1 else np.logical_or.reduce(self.seen)
        return some

    @property
    def by_date(self) -> NDArray[Any]:
        """The values as (date, band, y, x)."""
        return self.values.reshape(len(self.seen), -1, *self.window.shape)


class Raster:
    """An open image. A context manager; not shared between threads."""

    def __init__(self, origin: Origin) -> None:
        """Open the files of ``origin``; raise ImageError if they don't fit it."""
        channels = (*origin.channels, *origin.telling)
        paths = dict.fromkeys(path for channel in (origin.grid, *channels) for path in channel.files)
        headers = {}
        for path in paths:
            with opened(path) as dataset:
                headers[path] = header(dataset, path)
        own = mosaic([headers[path] for path in origin.grid.files]).grid
        self.grid = own if origin.target is None else origin.target.around(own, origin.grid.files[0])
        plans, telling = (layouts(some, headers, self.grid) for some in (origin.channels, origin.telling))
        self.bands = self._held = tuple(described(channel, headers) for channel in origin.channels)
        _check_dates(origin.channels, self.bands)
        self.dtype = np.result_type(*(band.dtype for band in self.bands))
        self._described = channels, headers
        ways = {place: plan.way(self.grid) for plan in plans for place in plan.places}
        self.resampling = tuple(ways[place] for place in range(len(self.bands)))
        """How each band's files are brought to the grid; None where they are on it."""
        self._dates = max(1, len(dates_of(self.bands)))
        self._origin = origin
        self._files = ExitStack()
        try:
            self._readers = [layout.open(self.grid, self._files) for layout in plans]
            self._telling = [layout.open(self.grid, self._files) for layout in telling]
        except BaseException:
            self._files.close()
            raise

    def __enter__(self) -> Self:
        """Return the open image itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close all files."""
        self._files.close()

    def again(self) -> "Raster":
        """Return the same image, opened once more, for another thread."""
        return Raster(self._origin)

    @cached_property
    def remarks(self) -> list[str]:
        """Warnings: contradictions of files and catalog, and inaccurate places."""
        return _remarks(*self._described, self.grid)

    def read(self, window: Window, empty: Empty = np.empty) -> Strip:
        """Return the pixels of a window within the grid; hidden pixels are the band's nodata value, or NaN.

        ``empty`` allocates the arrays.
        """
        values, seen = self._read(window, range(len(self.bands)), empty)
        return Strip(window, values, seen)

    def values(self, window: Window, places: Sequence[int]) -> NDArray[Any]:
        """Return the raw values (place, y, x) of the bands at ``places``, in a window within the grid.

        A band may be named more than once.
        """
        distinct, order = np.unique(np.asarray(places, np.intp), return_inverse=True)
        if len(distinct) == len(places):
            return self._read(window, places, np.empty)[0]
        found: NDArray[Any] = self._read(window, distinct.tolist(), np.empty)[0][order]
        return found

    def reduced(self, shape: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the whole image at (height, width) px: raw values and validity, (band, y, x) each."""
        values, shown = np.empty((len(self.bands), *shape), self.dtype), np.ones((len(self.bands), *shape), np.bool_)
        clear = self._clear_mask(None, shape)
        for reader in self._readers:
            pixels, unmasked = reader.read(None, shape, np.empty)
            for place, each in zip(reader.places, pixels, strict=True):
                values[place] = each
                for mask in (unmasked, None if clear is None else clear[self._date(place)]):
                    if mask is not None:
                        shown[place] &= mask
        return values, shown

    def _read(self, window: Window, places: Sequence[int], empty: Empty) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return values (place, y, x), and ``Strip.seen`` judged by the bands at ``places``."""
        inside = window.intersection(self.grid.area)
        if inside != window:
            raise ImageError("a read crosses the image's edge", window=window, expected=self.grid.area)
        # one layout reads all bands, in order
        alone = len(self._readers) == 1 and self._readers[0].places == tuple(places)
        values = empty((0 if alone else len(places), *window.shape), self.dtype)
        clear_mask = self._clear_mask(window, window.shape)
        seen = empty((self._dates, *window.shape), np.bool_)
        seen[...] = True if clear_mask is None else clear_mask
        slots = {place: slot for slot, place in enumerate(places)}
        for reader in (one for one in self._readers if not slots.keys().isdisjoint(one.places)):
            pixels, unmasked = reader.read(window, window.shape, empty)
            values = pixels if alone else values
            for place, each in ((p, e) for p, e in zip(reader.places, pixels, strict=True) if p in slots):
                date = self._date(place)
                if unmasked is not None:
                    seen[date] &= unmasked
                    self._hide(each, ~unmasked, place, reader, window)
                if clear_mask is not None:
                    self._hide(each, ~clear_mask[date], place, reader, window)
                if self._held[place].blank is not None:
                    seen[date] &= is_valid(each, self._held[place])
                if not alone:
                    values[slots[place]] = each
        return values, seen

    def _clear_mask(self, window: Window | None, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
        """Return (date, y, x), True where the mask band marks a pixel as valid; None without a mask band."""
        parts: dict[int, NDArray[np.bool_]] = {}
        for reader in self._telling:
            pixels, unmasked = reader.read(window, shape, np.empty)
            for place, each in zip(reader.places, pixels, strict=True):
                clear = np.isin(each, self._origin.clear)
                parts[place] = clear if unmasked is None else clear & unmasked
        return np.stack([parts[date] for date in range(self._dates)]) if parts else None

    def _hide(
        self, values: NDArray[Any], hidden: NDArray[np.bool_], place: int, reader: Reader, window: Window
    ) -> None:
        """Write nodata where values are ``hidden``; raise ImageError if a time series' band has no nodata value."""
        band = self._held[place]
        if band.blank is not None:
            values[hidden] = band.blank
        elif band.date is not None and hidden.any():
            raise ImageError(
                f"band {band.name} has hidden pixels on a date, but no nodata value to mark them",
                file=reader.files[0],
                window=window,
                expected="a nodata value",
                hint="set 'nodata' of the band's source in the catalog to a value that no pixel has",
            )

    def _date(self, place: int) -> int:
        return place * self._dates // len(self.bands)

    def strips(self, area: Window, height: int, readers: int = 1) -> Iterator[Strip]:
        """Read ``area`` from top to bottom in strips of at most ``height`` rows, aligned to the grid.

        With several ``readers``, threads read ahead, each with files of its own, as far as AHEAD_BYTES allows.
        """
        wanted = list(strips(area, height))
        each = max(one.size for one in wanted) * len(self.bands) * self.dtype.itemsize
        readers = min(readers, len(wanted), AHEAD_BYTES * max(4, readers) // 4 // (2 * each))
        if readers > 1:
            yield from read_side_by_side(self.again, wanted, readers)
        else:
            yield from self._in_turn(wanted)

    def tiles(self, area: Window) -> Iterator[Strip]:
        """Read ``area`` in small pieces of whole blocks, in row order."""
        height, width = self.strip_height, math.lcm(*(reader.block[1] for reader in self._readers))
        most = TILE_BYTES // (height * len(self.bands) * self.dtype.itemsize)
        yield from self._in_turn(tiles(area, height, max(1, most // width) * width))

    def _in_turn(self, windows: Iterable[Window]) -> Iterator[Strip]:
        """Read windows, and reuse the memory of released ones."""
        yield from map(partial(self.read, empty=Memory().empty), windows)

    @property
    def strip_height(self) -> int:
        """Rows of a strip that decodes each block once: the tallest block, at least 64 rows, at most TALL."""
        tallest = max(reader.block[0] for reader in self._readers)
        return min(max(tallest, 64), TALL)

    def to_xarray(self) -> "xarray.DataArray":
        """Return the image as a lazy array (band, y, x), or (time, band, y, x) of a time series.

        Pixels are read when its values are accessed.
        """
        from quadrat.geo.reading.xarray_view import to_xarray

        return to_xarray(self)


def _check_dates(channels: Sequence[Channel], bands: Sequence[Band]) -> None:
    """Raise ImageError if a band has another meaning on a later date."""
    first: dict[str, Band] = {}
    for channel, band, meaning in zip(channels, bands, undated(bands), strict=True):
        if first.setdefault(band.name, meaning) != meaning:
            raise ImageError(
                f"band {band.name} has different meanings on different dates",
                file=channel.files[0],
                expected=f"{first[band.name]} (date {bands[0].date})",
                got=f"{meaning} (date {band.date})",
                hint="convert the files to one data type, scale, offset and nodata, or make them separate images",
            )


def _remarks(channels: Sequence[Channel], headers: Mapping[str, Header], grid: Grid) -> list[str]:
    wanted = {channel.name for channel in channels}
    named = [(headers[path], number, channel.name) for channel in channels for path, number in channel.pieces]
    far = dict.fromkeys(remark for file, _, _ in named for remark in doubtful_place(file.path, file.grid.crs, grid))
    several = dict.fromkeys(file for file, _, _ in named if file.within)
    return (
        [
            f"{file.path} holds {len(file.within)} images, of which the first is read ({listed(file.within)}): "
            "name the right one as the path"
            for file in several
        ]
        + [
            f"{file.path} calls its band {number} {file.called(number)}, the catalog {name}: are they in order?"
            for file, number, name in named
            if file.called(number) in wanted - {name}
        ]
        + [*far]
    )
