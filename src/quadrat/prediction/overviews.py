"""Overviews of class maps: each pixel is the most frequent class of the four pixels below it."""

import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window as RasterioWindow

from quadrat.geo.grids.windows import Window, strips

ROWS = 64
"""Rows that are halved at once, so that the result stays in the processor's cache."""


class Overviews:
    """Writes overviews of a raster of bytes while its rows are added, each of half the size, until one fits a block.

    They are ``<path>.ovr``, ``<path>.ovr.ovr`` and so on, as GDAL expects. GDAL's own mode resampling takes several
    times as long. One row of blocks of each is in memory. A context manager.
    """

    def __init__(self, path: Path, shape: tuple[int, int], nodata: int, block: int, options: Mapping[str, Any]) -> None:
        """Write overviews of the raster at ``path``, of ``shape`` (height, width).

        They are GeoTIFFs with ``options`` and blocks of ``block`` × ``block`` px.
        """
        self._path, self._shape, self._nodata, self._block = path, shape, nodata, block
        self._options = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": nodata, **options}
        self._levels: list[_Level] = []
        self._files = ExitStack()

    def __enter__(self) -> Self:
        """Open their files."""
        path, (height, width) = self._path, self._shape
        with ExitStack() as files, warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # an overview has the extent of its raster
            while max(height, width) > self._block:
                path, height, width = path.with_name(f"{path.name}.ovr"), -(-height // 2), -(-width // 2)
                dataset = files.enter_context(rasterio.open(path, "w", height=height, width=width, **self._options))
                self._levels.append(_Level(dataset, self._nodata, self._block))
            self._files = files.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the remaining rows, except after an exception, and close the files."""
        with self._files:
            for number, level in enumerate(self._levels if kind is None else ()):
                self._pass(number, *level.missing())
                level.flush()

    @property
    def count(self) -> int:
        """Number of overviews."""
        return len(self._levels)

    def add(self, row: int, col: int, values: NDArray[np.uint8]) -> None:
        """Add rows ``values`` (y, x) at ``row`` and ``col``, the next ones from top to bottom, all of one width."""
        self._pass(0, row, col, values)

    def _pass(self, number: int, row: int, col: int, values: NDArray[np.uint8]) -> None:
        for level in self._levels[number:]:
            if not len(values):
                return
            row, col, values = level.add(row, col, values)


class _Level:
    """An overview in progress: the buffered rows of a row of blocks, and an input row that waits for its pair."""

    def __init__(self, dataset: Any, nodata: int, block: int) -> None:
        self._dataset, self._nodata, self._block = dataset, nodata, block
        self._waiting: NDArray[np.uint8] | None = None
        self._after = 0, 0, 0  # row, col and width of the next row
        self._held = np.empty((block, 0), np.uint8)
        self._top = self._bottom = self._col = 0  # the buffered rows, and their first column

    def add(self, row: int, col: int, values: NDArray[np.uint8]) -> tuple[int, int, NDArray[np.uint8]]:
        """Add rows of the larger raster; return the halved rows, with the first one's row and column."""
        self._after = row + len(values), col, values.shape[1]
        if col % 2:
            values = np.pad(values, ((0, 0), (1, 0)), constant_values=self._nodata)
        above = self._waiting
        if above is None and row % 2:
            above = np.full((1, values.shape[1]), self._nodata, np.uint8)
        if above is not None:
            values = np.concatenate([above, values])
        pairs = len(values) // 2 * 2
        self._waiting = values[pairs:].copy() if pairs < len(values) else None
        row, col, halves = row // 2, col // 2, majority(values[:pairs], self._nodata)
        self._hold(row, col, halves)
        return row, col, halves

    def missing(self) -> tuple[int, int, NDArray[np.uint8]]:
        """Return a row of nodata as the pair of a waiting row; nothing if none waits."""
        row, col, width = self._after
        return row, col, np.full((0 if self._waiting is None else 1, width), self._nodata, np.uint8)

    def flush(self) -> None:
        """Write the buffered rows."""
        if self._bottom > self._top:
            first = self._top % self._block
            rows = self._held[first : first + self._bottom - self._top]
            self._dataset.write(rows, 1, window=RasterioWindow(self._col, self._top, rows.shape[1], len(rows)))
            self._top = self._bottom

    def _hold(self, row: int, col: int, values: NDArray[np.uint8]) -> None:
        """Buffer rows until a row of blocks is full, because a block is compressed at each write."""
        if not len(values):
            return
        if self._held.shape[1] != values.shape[1]:
            self._col, self._held = col, np.empty((self._block, values.shape[1]), np.uint8)
        if self._top == self._bottom:
            self._top = self._bottom = row
        for part in strips(Window(row, col, *values.shape), self._block):
            place = part.row % self._block
            self._held[place : place + part.height] = values[part.row - row : part.bottom - row]
            self._bottom = part.bottom
            if part.bottom % self._block == 0:
                self.flush()


def majority(values: NDArray[np.uint8], nodata: int) -> NDArray[np.uint8]:
    """Return the most frequent value of each 2 × 2 px of ``values`` (y, x); the first of equally frequent ones.

    ``nodata`` is returned only if all four are nodata. An odd last row or column has no pair.
    """
    rows = range(0, max(1, len(values)), ROWS)
    return np.concatenate([_majority(values[row : row + ROWS], nodata) for row in rows])


def _majority(values: NDArray[np.uint8], nodata: int) -> NDArray[np.uint8]:
    height, width = values.shape
    if height % 2 or width % 2:
        values = np.pad(values, ((0, height % 2), (0, width % 2)), constant_values=nodata)
    a, b, c, d = (np.ascontiguousarray(values[row::2, col::2]) for row in (0, 1) for col in (0, 1))
    some_missing = bool((values == nodata).any())
    found = a.copy()
    if some_missing:  # if all differ, the first valid one
        for corner in (b, c, d):
            np.copyto(found, corner, where=found == nodata)
    for corner, after in ((c, (d,)), (b, (c, d)), (a, (b, c, d))):  # of two pairs, the first one is assigned last
        often = corner == after[0]
        for other in after[1:]:
            often |= corner == other
        if some_missing:
            often &= corner != nodata
        np.copyto(found, corner, where=often)
    return found
