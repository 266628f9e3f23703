"""A thread that works off a bounded queue; equal work that is under way is done once."""

import queue
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")


class BusyWorker(Exception):  # noqa: N818 (a state, not a fault)
    """The queue is full, or the worker stops."""


class Worker:
    """One thread, in which alone what it works with is used: models and open images are not shared between threads."""

    def __init__(self, name: str, most: int) -> None:
        """Let at most ``most`` pieces of work wait."""
        self._queue: queue.Queue[tuple[Hashable, Callable[[], Any], Future[Any]] | None] = queue.Queue(most)
        self._under_way: dict[Hashable, Future[Any]] = {}
        self._lock = threading.Lock()
        self._open = True
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Return how many pieces of work wait."""
        return self._queue.qsize()

    def submit(self, key: Hashable, work: Callable[[], Result]) -> "Future[Result]":
        """Have ``work`` done; return that of the same ``key`` if it is under way. Raises BusyWorker."""
        with self._lock:
            if not self._open:
                raise BusyWorker
            known = self._under_way.get(key)
            if known is not None:
                return known
            future: Future[Any] = Future()
            try:
                self._queue.put_nowait((key, work, future))
            except queue.Full:
                raise BusyWorker from None
            self._under_way[key] = future
            return future

    def close(self, seconds: float) -> None:
        """Take no more work, cancel what waits, and let what runs end within ``seconds``."""
        with self._lock:
            self._open = False
            waiting = []
            while not self._queue.empty():
                waiting.append(self._queue.get_nowait())
        for item in waiting:
            if item is not None:
                item[2].set_exception(BusyWorker())
        self._queue.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            key, work, future = item
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 (the future carries it)
                found: tuple[Any, BaseException | None] = (None, error)
            else:
                found = (result, None)
            with self._lock:
                del self._under_way[key]
            if found[1] is None:
                future.set_result(found[0])
            else:
                future.set_exception(found[1])
            del item, work, future, found
