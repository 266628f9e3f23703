"""An open image: bands on one grid, read by window."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray
from numpy.typing import NDArray

from quadrat.errors import ImageError
from quadrat.scenes.bands import is_valid
from quadrat.scenes.files import Channel, Header, header, opened
from quadrat.scenes.lazy import to_xarray
from quadrat.scenes.mosaic import mosaic
from quadrat.scenes.reader import described, layouts
from quadrat.windows import Window, strips


@dataclass(frozen=True)
class Strip:
    """Pixels of a window: ``values`` (band, y, x), raw; ``valid`` (y, x), True where every band has a value."""

    window: Window
    values: NDArray[Any]
    valid: NDArray[np.bool_]


class Raster:
    """An open image. A context manager; not shared between threads."""

    def __init__(self, grid: Channel, channels: Sequence[Channel]) -> None:
        """Open the files of ``channels``, on the grid that the files of the channel ``grid`` make up."""
        paths = dict.fromkeys(path for channel in (grid, *channels) for path in channel.files)
        headers = {}
        for path in paths:
            with opened(path) as dataset:
                headers[path] = header(dataset, path)
        self.grid = mosaic([headers[path] for path in grid.files]).grid
        plans = layouts(channels, headers)
        self.bands = tuple(described(channel, headers) for channel in channels)
        self.dtype = np.result_type(*(band.dtype for band in self.bands))
        self.remarks = _remarks(channels, headers)
        """What files say of themselves that the catalog says otherwise."""
        self._files = ExitStack()
        try:
            self._readers = [layout.open(self.grid, self._files) for layout in plans]
        except BaseException:
            self._files.close()
            raise

    def __enter__(self) -> Self:
        """Return the open image itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close all files."""
        self._files.close()

    def read(self, window: Window) -> Strip:
        """Return the pixels of a window that lies within the grid; where a mask hides one, it is its band's nodata."""
        inside = window.intersection(self.grid.area)
        if inside != window:
            raise ImageError("a read reaches over the image's edge", window=window, expected=self.grid.area)
        values = np.empty((len(self.bands), *window.shape), self.dtype)
        valid = np.ones(window.shape, np.bool_)
        for reader in self._readers:
            pixels, seen = reader.read(window)
            for place, each in zip(reader.places, pixels, strict=True):
                band = self.bands[place]
                if seen is not None and band.nodata is not None:
                    each[~seen] = band.nodata
                valid &= is_valid(each, band)
                values[place] = each
            if seen is not None:
                valid &= seen
        return Strip(window, values, valid)

    def values(self, window: Window) -> NDArray[Any]:
        """Return the values (band, y, x), raw, of a window that lies within the grid."""
        return Raster.read(self, window).values

    def reduced(self, shape: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the whole image in (height, width) px, raw, and where no mask hides it: (band, y, x) each."""
        values, shown = np.empty((len(self.bands), *shape), self.dtype), np.ones((len(self.bands), *shape), np.bool_)
        for reader in self._readers:
            pixels, seen = reader.read(None, shape=shape)
            values[list(reader.places)] = pixels
            if seen is not None:
                shown[list(reader.places)] = seen
        return values, shown

    def strips(self, area: Window, height: int) -> Iterator[Strip]:
        """Read ``area`` from top to bottom in strips of at most ``height`` rows, aligned to the grid."""
        for window in strips(area, height):
            yield self.read(window)

    @property
    def strip_height(self) -> int:
        """Rows of a strip that decodes each block once: the tallest block, at least 64 rows, at most 1024."""
        tallest = max(reader.block_height for reader in self._readers)
        return min(max(tallest, 64), 1024)

    def to_xarray(self) -> xarray.DataArray:
        """Return the image as a lazy array (band, y, x); pixels move when its values are asked for."""
        return to_xarray(self)


def _remarks(channels: Sequence[Channel], headers: Mapping[str, Header]) -> list[str]:
    wanted = {channel.name for channel in channels}
    named = [(headers[path], number, channel.name) for channel in channels for path, number in channel.pieces]
    return [
        f"{file.path} calls its band {number} {file.names[number - 1]}, the catalog {name}: are they in order?"
        for file, number, name in named
        if file.names[number - 1] in wanted - {name}
    ]
