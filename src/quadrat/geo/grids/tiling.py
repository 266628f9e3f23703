"""Cuts windows from strips, and pastes windows into rows; each is the inverse of the other.

Both go from top to bottom and keep only the rows that are needed, so memory is bounded by the window's height times
the area's width.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.windows import Window

FLOOR = 1e-3
"""Least weight of a pixel in its window, so that a pixel at the edge of a single window counts."""


class StripLike(Protocol):
    """Full-width rows of pixels (``quadrat.geo.reading.open_image.Strip`` is one)."""

    @property
    def window(self) -> Window:
        """The strip's place on the grid."""
        ...

    @property
    def values(self) -> NDArray[Any]:
        """(band, y, x)."""
        ...

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(y, x), True if there is a value."""
        ...


@dataclass(frozen=True)
class Cut:
    """A window's pixels: ``values`` (band, y, x); ``valid`` (y, x), False beyond the grid's edge too.

    Windows share memory with the strip that they are cut from: do not write to them, and copy what you keep.
    """

    window: Window
    values: NDArray[Any]
    valid: NDArray[np.bool_]


def reach(windows: Sequence[Window], shape: tuple[int, int]) -> Window:
    """Return the area of a grid of ``shape`` that must be read to cut ``windows``: pixels that they cover or mirror."""
    rows = [_mirrored(*ends, shape[0]) for ends in {(w.row, w.bottom) for w in windows}]  # many windows share them
    cols = [_mirrored(*ends, shape[1]) for ends in {(w.col, w.right) for w in windows}]
    top, left = min(int(r.min()) for r in rows), min(int(c.min()) for c in cols)
    bottom, right = max(int(r.max()) for r in rows) + 1, max(int(c.max()) for c in cols) + 1
    return Window(top, left, bottom - top, right - left)


def cut(strips: Iterable[StripLike], windows: Sequence[Window], shape: tuple[int, int]) -> Iterator[Cut]:
    """Cut ``windows`` (in row order) out of ``strips`` (top to bottom, together all of ``reach``).

    Beyond the edge of the grid of ``shape`` (height, width) the values are mirrored about the edge's pixels
    (1 2 3 | 2 1), so that a convolution sees no artificial edge; ``valid`` is False there.
    """
    source = iter(strips)
    held: deque[StripLike] = deque()
    mirrored = lru_cache(maxsize=1)(partial(_mirrored, size=shape[0]))  # windows of a row come one after the other
    for window, (oldest, last) in zip(windows, rows_needed(windows, shape[0]), strict=True):
        while True:
            while held and held[0].window.bottom <= oldest:
                held.popleft()  # before the next is read
            if held and held[-1].window.bottom > last:
                break
            held.append(next(source))
        yield _gather(window, mirrored(window.row, window.bottom), held, shape)


def rows_needed(windows: Sequence[Window], height: int) -> list[tuple[int, int]]:
    """Return for each of ``windows`` the first row that it or a later one needs, and the last that it needs itself.

    They are rows of a grid of ``height`` rows, at whose edges windows are mirrored.
    """

    @lru_cache(maxsize=1)  # windows of a row come one after the other
    def ends(start: int, stop: int) -> tuple[int, int]:
        rows = _mirrored(start, stop, height)
        return int(rows.min()), int(rows.max())

    own = [ends(w.row, w.bottom) for w in windows]
    oldest = np.minimum.accumulate([first for first, _ in reversed(own)])[::-1].tolist()
    return [(first, last) for first, (_, last) in zip(oldest, own, strict=True)]


def _gather(window: Window, rows: NDArray[np.intp], held: Iterable[StripLike], shape: tuple[int, int]) -> Cut:
    strips = list(held)
    inside = window.intersection(Window(0, 0, *shape))
    if inside == window and len(strips) == 1:
        place = window.slices(strips[0].window)
        return Cut(window, strips[0].values[:, *place], strips[0].valid[place])
    values = np.empty((len(strips[0].values), *window.shape), strips[0].values.dtype)
    valid = np.zeros(window.shape, np.bool_)
    cols = _mirrored(window.col, window.right, shape[1]) - strips[0].window.col
    straight = window.col >= 0 and window.right <= shape[1]
    picked: slice | NDArray[np.intp] = slice(int(cols[0]), int(cols[-1]) + 1) if straight else cols
    for strip in strips:
        here = np.flatnonzero((rows >= strip.window.row) & (rows < strip.window.bottom))
        if not here.size:
            continue
        local = rows[here] - strip.window.row
        if local[-1] - local[0] == here[-1] - here[0] == here.size - 1:  # consecutive: a plain copy
            there = slice(int(local[0]), int(local[-1]) + 1)
            values[:, here[0] : here[-1] + 1] = strip.values[:, there, picked]
            valid[here[0] : here[-1] + 1] = strip.valid[there, picked]
        else:
            values[:, here] = strip.values[:, local][:, :, picked]
            valid[here] = strip.valid[local][:, picked]
    within = np.zeros(window.shape, np.bool_)
    if inside:
        within[inside.slices(window)] = True
    return Cut(window, values, valid & within)


def _mirrored(start: int, stop: int, size: int) -> NDArray[np.intp]:
    """Return, for each index from start to stop - 1, the index from 0 to size - 1 that it mirrors."""
    if size == 1:
        return np.zeros(stop - start, np.intp)
    index = np.abs(np.arange(start, stop)) % (2 * size - 2)
    mirrored: NDArray[np.intp] = np.minimum(index, 2 * size - 2 - index)
    return mirrored


def taper(size: int) -> NDArray[np.float32]:
    """Return the blending weight (y, x) of a window of ``size`` px: a Hann bell, never below FLOOR."""
    bell = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    return np.maximum(np.outer(bell, bell), FLOOR).astype(np.float32)


@dataclass(frozen=True)
class Blended:
    """Finished rows: ``values`` (channel, y, x), the weighted mean of all windows; ``covered`` (y, x).

    The arrays are valid until the next rows are requested.
    """

    row: int
    col: int
    values: NDArray[np.float32]
    covered: NDArray[np.bool_]


class Blend:
    """Averages overlapping windows, weighted by ``taper``, over ``area``; gives rows that no later window can reach.

    Without overlap, a pixel has the values of its window.
    """

    def __init__(self, area: Window, channels: int, size: int, stride: int) -> None:
        """Take windows of ``size`` px, ``stride`` px apart, with ``channels`` outputs."""
        self._area = area
        self._taper = taper(size) if stride < size else None
        self._top = area.row
        self._sums = np.zeros((channels, size, area.width), np.float32)
        self._weights: NDArray[Any] = np.zeros((size, area.width), np.float32 if stride < size else np.bool_)

    def paste(self, window: Window, outputs: NDArray[np.float32], valid: NDArray[np.bool_]) -> Iterator[Blended]:
        """Add ``outputs`` (channel, y, x) where ``valid`` (y, x); give the rows above the window."""
        if window.row > self._top:
            yield from self._release(min(window.row, self._area.bottom))
        held = Window(self._top, self._area.col, *self._weights.shape)
        inside = window.intersection(held)
        inside = inside and inside.intersection(self._area)
        if inside is None:
            return
        mine, (rows, cols) = inside.slices(window), inside.slices(held)
        if self._taper is None:
            self._weights[rows, cols] = valid[mine]
            values = outputs[(slice(None), *mine)]
            self._sums[:, rows, cols] = values if valid[mine].all() else np.where(valid[mine], values, 0)
            return
        weights = self._taper[mine]
        if not valid[mine].all():
            weights = weights * valid[mine]
        # channel by channel, the data stays in the processor's cache
        for total, output in zip(self._sums, outputs, strict=True):
            total[rows, cols] += output[mine] * weights
        self._weights[rows, cols] += weights

    def close(self) -> Iterator[Blended]:
        """Yield the remaining rows."""
        yield from self._release(self._area.bottom)

    def _release(self, bottom: int) -> Iterator[Blended]:
        while self._top < bottom:
            count = min(bottom - self._top, len(self._weights))
            yield Blended(self._top, self._area.col, *self._mean(count))
            self._shift(count)

    def _mean(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the values (channel, y, x) of the upper rows, 0 where they are not covered, and where they are."""
        sums, weights = self._sums[:, :count], self._weights[:count]
        if self._taper is None:
            return sums, weights
        covered = weights > 0
        return np.divide(sums, np.where(covered, weights, 1), dtype=np.float32), covered

    def _shift(self, count: int) -> None:
        self._top += count
        for buffer in (self._sums, self._weights):
            kept = buffer.shape[-2] - count
            buffer[..., :kept, :] = buffer[..., count:, :].copy()
            buffer[..., kept:, :] = 0
