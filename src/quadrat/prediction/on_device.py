"""A scene's way over a device: strips go there once, windows are cut, predicted, blended and decided there.

What comes back is what is decided: a byte a pixel for labels. Memory on both sides is bounded by a few strips, by two
batches of windows and by a window's height times the area's width. On CUDA nothing waits but for what comes back:
strips go through pinned memory, which torch uses again, on a stream of their own.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quadrat.geo.grids.tiling import rows_needed, taper
from quadrat.geo.grids.windows import Window
from quadrat.models.common.devices import Upload, as_tensor, device, fetched, on_device, sent
from quadrat.models.common.model import DevicePredictor
from quadrat.runtime.parallel import ahead
from quadrat.scenes.scene import OpenScene
from quadrat.tasks.common.blended import Decided, PixelDecisions

WAITING = 1
"""Batches that the device may be behind with before more are given to it."""

_OnTheWay = list[tuple[int, Callable[[], dict[str, NDArray[Any]]]]]
"""What is decided, and may not be back yet; each with its first row."""


@dataclass(frozen=True)
class Plan:
    """Which ``windows``, ``stride`` px apart, are to be predicted, at most ``batch`` at once, for an ``area``."""

    windows: Sequence[Window]
    area: Window
    stride: int
    batch: int


def decided(
    scene: OpenScene, predictor: DevicePredictor, decisions: PixelDecisions, plan: Plan, shown: Iterable[Window]
) -> Generator[tuple[int, Decided], None, None]:
    """Give what is decided of the plan's area, from top to bottom, each with its first row.

    ``shown`` are the plan's windows, taken when they are cut.
    """
    blend = _Blend(decisions, plan)
    under_way: deque[_OnTheWay] = deque()
    with closing(ahead(_sent(scene, plan.windows), depth=1)) as strips:
        first = next(strips)  # reading goes on while another scene has its turn
        with predictor.turn:
            for batch in _batches(chain([first], strips), plan, shown, scene.grid.shape):
                outputs = predictor.tensors(batch.values)[decisions.output]
                under_way.append([(row, fetched(each)) for row, each in blend.paste(batch, outputs)])
                if len(under_way) > WAITING:
                    yield from _arrived(under_way.popleft())
            under_way.append([(row, fetched(each)) for row, each in blend.close()])
            while under_way:
                yield from _arrived(under_way.popleft())


@dataclass(frozen=True)
class _Strip:
    """Full-width rows on the device: ``values`` (band, y, x) and ``valid`` (y, x), True where they count."""

    window: Window
    values: Tensor
    valid: Tensor
    counted: NDArray[np.bool_]
    """``valid`` on the processor."""

    def counts_in(self, window: Window) -> bool:
        """Return whether any pixel of ``window`` counts."""
        inside = window.intersection(self.window)
        return inside is not None and bool(self.counted[inside.slices(self.window)].any())


def _sent(scene: OpenScene, windows: Sequence[Window]) -> Iterator[Callable[[], _Strip]]:
    """Send the strips that are needed; give, for each, what returns it on the device."""
    upload = Upload()
    for strip in scene.strips(windows):
        counted = scene.counted(strip.window, strip.valid)
        arrived = upload(as_tensor(strip.values), torch.from_numpy(counted))
        yield partial(_strip, strip.window, counted, arrived)


def _strip(window: Window, counted: NDArray[np.bool_], arrived: Callable[[], tuple[Tensor, ...]]) -> _Strip:
    values, valid = arrived()
    return _Strip(window, values, valid, counted)


@dataclass(frozen=True)
class _Batch:
    """``windows`` with their ``values`` (window, band, y, x), raw, and ``valid`` (window, y, x)."""

    windows: list[Window]
    values: Tensor
    valid: Tensor


def _batches(
    strips: Iterator[Callable[[], _Strip]], plan: Plan, shown: Iterable[Window], shape: tuple[int, int]
) -> Iterator[_Batch]:
    """Cut what counts out of ``strips``, as ``geo.grids.tiling.cut`` does, before the next is taken."""
    held: deque[_Strip] = deque()
    parts: list[_Batch] = []
    waiting: list[Window] = []
    count = 0
    for window, (oldest, last) in zip(shown, rows_needed(plan.windows, shape[0]), strict=True):
        while not held or held[-1].window.bottom <= last:
            if waiting:
                parts.append(_cut(held, waiting, shape))
                waiting = []
            while held and held[0].window.bottom <= oldest:
                held.popleft()
            held.append(next(strips)())
        if any(strip.counts_in(window) for strip in held):
            waiting.append(window)
            count += 1
        if count == plan.batch:
            yield _joined([*parts, _cut(held, waiting, shape)])
            parts, waiting, count = [], [], 0
    if waiting:
        parts.append(_cut(held, waiting, shape))
    if parts:
        yield _joined(parts)


def _cut(strips: Sequence[_Strip], windows: list[Window], shape: tuple[int, int]) -> _Batch:
    """Cut windows of one size out of strips that hold all they need; beyond the edges of the grid they are mirrored."""
    values, valid = (torch.cat(some, -2) for some in zip(*((_bits(s.values), s.valid) for s in strips), strict=True))
    starts = sent(torch.tensor([[w.row for w in windows], [w.col for w in windows]]))
    places = starts[..., None] + torch.arange(windows[0].height, device=starts.device)  # (2, window, px)
    rows, cols = (_mirrored(place, size) for place, size in zip(places, shape, strict=True))
    within = [(place >= 0) & (place < size) for place, size in zip(places, shape, strict=True)]
    there = (rows - strips[0].window.row)[:, :, None], (cols - strips[0].window.col)[:, None]
    pixels = values[:, *there].view(strips[0].values.dtype).movedim(1, 0)
    return _Batch(windows, pixels, valid[there] & within[0][:, :, None] & within[1][:, None])


def _joined(parts: list[_Batch]) -> _Batch:
    if len(parts) == 1:
        return parts[0]
    values = torch.cat([_bits(part.values) for part in parts]).view(parts[0].values.dtype)
    return _Batch([w for part in parts for w in part.windows], values, torch.cat([part.valid for part in parts]))


def _bits(values: Tensor) -> Tensor:
    """Return the same memory as a type that torch has all operations for."""
    return values.view(torch.int16) if values.dtype == torch.uint16 else values


def _mirrored(index: Tensor, size: int) -> Tensor:
    if size == 1:
        return torch.zeros_like(index)
    index = index.abs() % (2 * size - 2)
    return torch.minimum(index, 2 * size - 2 - index)


class _Blend:
    """What ``geo.grids.tiling.Blend`` is on the processor; the same sums in the same order."""

    def __init__(self, decisions: PixelDecisions, plan: Plan) -> None:
        size, area = plan.windows[0].height, plan.area
        self._area, self._decisions, self._top = area, decisions, area.row
        self._taper = on_device(taper(size)) if plan.stride < size else torch.ones(size, size, device=device())
        self._sums = torch.zeros(decisions.channels + 1, size, area.width, device=device())  # the last is of weights

    def paste(self, batch: _Batch, outputs: Tensor) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Add ``outputs`` (window, channel, y, x); give what is decided of the rows above each window."""
        weights = (self._taper * batch.valid)[:, None]
        weighted = torch.cat([outputs * weights, weights], 1)
        for window, each in zip(batch.windows, weighted, strict=True):
            if window.row > self._top:
                yield from self._release(min(window.row, self._area.bottom))
            held = Window(self._top, self._area.col, *self._sums.shape[1:])
            inside = window.intersection(held)
            inside = inside and inside.intersection(self._area)
            if inside is not None:
                self._sums[:, *inside.slices(held)].add_(each[:, *inside.slices(window)])

    def close(self) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Give what is decided of the remaining rows."""
        yield from self._release(self._area.bottom)

    def _release(self, bottom: int) -> Iterator[tuple[int, dict[str, Tensor]]]:
        while self._top < bottom:
            count = min(bottom - self._top, self._sums.shape[1])
            sums, weights = self._sums[:-1, :count], self._sums[-1, :count]
            covered = weights > 0
            yield self._top, self._decisions.decide_tensors(sums / weights.where(covered, 1), covered)
            kept = self._sums[:, count:].clone()
            self._sums[:, : kept.shape[1]] = kept
            self._sums[:, kept.shape[1] :] = 0
            self._top += count


def _arrived(some: _OnTheWay) -> Iterator[tuple[int, Decided]]:
    for row, arrived in some:
        yield row, arrived()
