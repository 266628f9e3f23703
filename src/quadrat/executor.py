"""Where work runs: one function over many items, results in the items' order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread
from typing import Protocol, TypeVar, cast

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
    ready: Queue[tuple[Item | None, BaseException | None]] = Queue(depth)
    stop = Event()
    end = StopIteration()

    def put(item: Item | None, outcome: BaseException | None) -> None:
        while not stop.is_set():
            try:
                return ready.put((item, outcome), timeout=0.1)
            except Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put(item, None)
                if stop.is_set():
                    return
            put(None, end)
        except BaseException as error:  # noqa: BLE001 (raised again where the items are taken)
            put(None, error)

    thread = Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            item, outcome = ready.get()
            if outcome is end:
                return
            if outcome is not None:
                raise outcome
            yield cast("Item", item)
    finally:
        stop.set()
        thread.join()
