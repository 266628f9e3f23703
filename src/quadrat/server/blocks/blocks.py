"""Blocks of served images: from memory, from disk, or made now, each once at a time."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.windows import Window, tiles
from quadrat.server.blocks.cache import BlockCache
from quadrat.server.blocks.gallery import Served
from quadrat.server.blocks.held import Held
from quadrat.server.blocks.making import Arrays, Maker
from quadrat.server.blocks.stored import packed, unpacked
from quadrat.server.blocks.worker import BusyWorker, Worker
from quadrat.server.metering import Meters

SIDE, LARGEST = 512, 2048
"""Smallest and largest side of a block, px: two windows at least, as what windows overlap is predicted twice."""

QUEUE = 128
"""Blocks that may wait."""

WAITING = 32
"""Requests that may wait for blocks; more are refused, so that those of finished blocks find a thread."""

PATIENCE = 60.0
"""Seconds that a request waits; the block is made all the same."""

HELD = 128 << 20
"""Bytes of arrays in memory."""

Kind = Literal["predicted", "pictured"]


@dataclass(frozen=True)
class Block:
    """A block's place on the grid, and the arrays that were asked for."""

    window: Window
    arrays: Arrays


class Blocks:
    """Gives blocks. Safe between threads: models and images are used in one thread for each kind."""

    def __init__(
        self, maker: Callable[[], Maker], window_size: int, digest: str, cache: BlockCache, meters: Meters
    ) -> None:
        """Make blocks by ``maker``'s, one for each thread; ``digest`` stands for the bundle and how it predicts."""
        self.side = min(LARGEST, SIDE * max(1, -(-2 * window_size // SIDE)))
        self._digest, self.cache, self._meters = digest, cache, meters
        self._makers = {kind: maker() for kind in ("predicted", "pictured")}
        self.workers = {kind: Worker(f"quadrat-{kind}", QUEUE) for kind in self._makers}
        self._lock = threading.Lock()
        self._held: Held[NDArray[Any]] = Held(HELD)
        self._requests = 0

    def around(self, served: Served, window: Window) -> list[Window]:
        """Return the blocks that a window of the grid meets."""
        inside = window.intersection(served.grid.area)
        if inside is None:
            return []
        side = self.side
        row, col = inside.row // side * side, inside.col // side * side
        bottom = min(-(-inside.bottom // side) * side, served.grid.shape[0])
        right = min(-(-inside.right // side) * side, served.grid.shape[1])
        return list(tiles(Window(row, col, bottom - row, right - col), side, side))

    def get(self, served: Served, kind: Kind, windows: Sequence[Window], names: Sequence[str] | None) -> list[Block]:
        """Return blocks with their arrays ``names``, None for all; raise BusyWorker if there is too much to do."""
        found: dict[Window, Arrays] = {}
        due: dict[Window, Future[Arrays]] = {}
        for window in windows:
            key = self._key(served, kind, window)
            arrays = self._known(key, kind, names)
            if arrays is None:
                due[window] = self._ordered(key, served, kind, window)
            else:
                found[window] = arrays
        if due:
            with self._one_more():
                until = time.monotonic() + PATIENCE
                for window, future in due.items():
                    found[window] = self._waited(future, until)
        return [Block(window, found[window]) for window in windows]

    def overview(self, served: Served, side: int) -> NDArray[np.uint8]:
        """Return the whole image in at most ``side`` px, drawn (4, y, x)."""
        key = hashlib.blake2b(f"{served.id} {served.stamp} {side}".encode()).hexdigest()
        held = self._held.get((key, "overview"))
        if held is not None:
            return held
        maker = self._makers["pictured"]
        future = self.workers["pictured"].submit(key, lambda: {"overview": maker.overview(served, side)})
        with self._one_more():
            arrays = self._waited(future, time.monotonic() + PATIENCE)
        self._remember(key, arrays)
        return arrays["overview"]

    def close(self, seconds: float) -> None:
        """Let what is under way end, within ``seconds``."""
        for worker in self.workers.values():
            worker.close(seconds)

    def _waited(self, future: Future[Arrays], until: float) -> Arrays:
        wait([future], max(0.0, until - time.monotonic()))
        if not future.done():
            raise BusyWorker
        return future.result()

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        """Count a request that waits; raise BusyWorker if there are too many."""
        with self._lock:
            if self._requests >= WAITING:
                raise BusyWorker
            self._requests += 1
        try:
            yield
        finally:
            with self._lock:
                self._requests -= 1

    def _ordered(self, key: str, served: Served, kind: Kind, window: Window) -> "Future[Arrays]":
        make = getattr(self._makers[kind], kind)

        def work() -> Arrays:
            started = time.monotonic()
            arrays: Arrays = make(served, window)
            self.cache.put(key, packed(arrays))
            self._meters.blocks.labels(kind, "made").inc()
            self._meters.making.labels(kind).observe(time.monotonic() - started)
            self._remember(key, arrays)
            return arrays

        return self.workers[kind].submit(key, work)

    def _known(self, key: str, kind: Kind, names: Sequence[str] | None) -> Arrays | None:
        held = None if names is None else {name: self._held.get((key, name)) for name in names}
        if held is not None and all(values is not None for values in held.values()):
            self._meters.blocks.labels(kind, "memory").inc()
            return {name: values for name, values in held.items() if values is not None}
        content = self.cache.get(key)
        if content is None:
            return None
        arrays = unpacked(content, names)
        if arrays is None:
            self.cache.drop(key)
            self._meters.blocks.labels(kind, "damaged").inc()
            return None
        self._meters.blocks.labels(kind, "disk").inc()
        self._remember(key, arrays)
        return arrays

    def _remember(self, key: str, arrays: Arrays) -> None:
        for name, values in arrays.items():
            self._held.put((key, name), values, values.nbytes)

    def _key(self, served: Served, kind: Kind, window: Window) -> str:
        told = f"{self._digest} {served.id} {served.stamp} {kind} {self.side} {window}"
        return hashlib.blake2b(told.encode(), digest_size=20).hexdigest()
