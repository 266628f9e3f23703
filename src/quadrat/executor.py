"""Where work runs: one function over many items, results in the items' order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs a function over items; what it gives does not depend on how it runs them."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Give ``function(item)`` for each item, in order; the first error ends it."""
        ...


@dataclass(frozen=True)
class Threads:
    """Threads of this process: for work that leaves the interpreter, as decoding does."""

    workers: int

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Give results in order, with at most twice as many items under way as there are workers."""
        if self.workers == 1:
            yield from map(function, items)
            return
        with ThreadPoolExecutor(self.workers) as pool:
            pending: deque[Future[Result]] = deque()
            try:
                for item in items:
                    pending.append(pool.submit(function, item))
                    if len(pending) >= 2 * self.workers:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ahead(items: Iterable[Item], depth: int = 16) -> Iterator[Item]:
    """Give ``items``, made in a thread of their own up to ``depth`` items ahead of who takes them."""
    made = _Made[Item](depth)
    thread = Thread(target=made.fill, args=(items,), daemon=True)
    thread.start()
    try:
        yield from made.taken()
    finally:
        made.stop.set()
        thread.join()


class _Made(Generic[Item]):
    """Items on their way from one thread to another, and how they ended."""

    def __init__(self, depth: int) -> None:
        self.stop = Event()
        self._ready: Queue[tuple[list[Item], BaseException | None]] = Queue(depth)

    def fill(self, items: Iterable[Item]) -> None:
        try:
            for item in items:
                self._put([item], None)
                if self.stop.is_set():
                    return
            self._put([], None)
        except BaseException as error:  # noqa: BLE001 (raised again where the items are taken)
            self._put([], error)

    def taken(self) -> Iterator[Item]:
        while True:
            items, error = self._ready.get()
            if error is not None:
                raise error
            if not items:
                return
            yield from items

    def _put(self, items: list[Item], error: BaseException | None) -> None:
        while not self.stop.is_set():
            try:
                self._ready.put((items, error), timeout=0.1)
            except Full:
                continue
            return
