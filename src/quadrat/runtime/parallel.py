"""Executors: run a function over many items and return outcomes in the order of the items."""

import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Any, Generic, Protocol, Self, TypeVar

from quadrat.errors import QuadratError, WorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")
Given_co = TypeVar("Given_co", covariant=True)

POLL = 0.5
"""Seconds between a worker's checks that its parent process is alive."""


@dataclass(frozen=True)
class Outcome(Generic[Given_co]):
    """The result of an item, or the error that it raised."""

    given: Given_co | None
    error: Exception | None = None

    def result(self) -> Given_co:
        """Return the result; raise the error."""
        if self.error is not None:
            raise self.error
        return self.given  # type: ignore[return-value]  # None only if that is the result


class Executor(Protocol):
    """Runs a function over items. The outcomes do not depend on how it runs them.

    Functions and items must be picklable and hold no open file, because other processes may run them.
    """

    @property
    def workers(self) -> int:
        """How many items are worked on at once."""
        ...

    def threads_each(self, items: int) -> int:
        """Return how many threads each of so many items may use."""
        ...

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Outcome[Result]]:
        """Yield the outcome of ``function(item)`` for each item, in order; an error affects only its item."""
        ...


def results(outcomes: Iterable[Outcome[Result]]) -> Generator[Result, None, None]:
    """Yield the results, and raise the first error, when what is under way has ended.

    Left to the garbage collector, ``outcomes`` could wait for its threads in one that they wait for, such as fsspec's.
    """
    try:
        for outcome in outcomes:
            yield outcome.result()
    finally:
        if isinstance(outcomes, Generator):
            outcomes.close()


@dataclass(frozen=True)
class _Here:
    """So many workers on this machine."""

    workers: int

    def threads_each(self, items: int) -> int:
        """Return a worker's share, and what is left over where there are fewer items than workers."""
        return max(1, self.workers // max(1, items))


@dataclass(frozen=True)
class Threads(_Here):
    """Threads of this process, for work that releases the interpreter's lock, as decoding does."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Outcome[Result]]:
        """Yield outcomes in order, with at most twice as many items in progress as workers."""
        work = partial(_attempt, function)
        if self.workers == 1:
            yield from map(work, items)
            return
        with (
            ThreadPoolExecutor(self.workers) as pool,
            closing(_submitted(pool, work, items, 2 * self.workers)) as found,
        ):
            for _, future in found:
                yield future.result()

    def __str__(self) -> str:
        """Return what they are called in a line."""
        return "1 thread" if self.workers == 1 else f"{self.workers} threads"


@dataclass(frozen=True)
class Processes(_Here):
    """Processes on this machine. A process that is killed loses only its own item."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Outcome[Result]]:
        """Yield outcomes in order, with at most twice as many items in progress as workers.

        If a process is killed, the items in progress run again, each in a process of its own. The item whose process
        is killed again gets a WorkerError, the others get their outcomes.
        """
        work = partial(attempt_elsewhere, function)
        with _Pool(self.workers) as pool:
            for item, future in _submitted(pool, work, items, 2 * self.workers):
                yield _settled(work, item, future)

    def __str__(self) -> str:
        """Return what they are called in a line."""
        return "1 process" if self.workers == 1 else f"{self.workers} processes"


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Submits(Protocol):
    """Takes calls and gives futures of what comes of them."""

    def submit(self, work: Callable[[Item], Result], item: Item, /) -> Future[Result]: ...


def _submitted(
    pool: _Submits, work: Callable[[Item], Result], items: Iterable[Item], most: int
) -> Generator[tuple[Item, Future[Result]], None, None]:
    """Give items and what comes of them, in order, at most ``most`` under way; who leaves has the others cancelled."""
    pending: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            pending.append((item, pool.submit(work, item)))
            if len(pending) >= most:
                yield pending.popleft()
        while pending:
            yield pending.popleft()
    finally:
        for _, future in pending:
            future.cancel()


class _Pool:
    """A pool of processes that is replaced when one of them is killed. A context manager."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def __enter__(self) -> Self:
        self._pool = self._new()
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None:  # nobody waits for what is under way
            for child in multiprocessing.active_children():
                child.terminate()
        self._pool.shutdown(cancel_futures=True)

    def submit(self, work: Callable[[Item], Result], item: Item) -> Future[Result]:
        try:
            return self._pool.submit(work, item)
        except BrokenProcessPool:
            self._pool.shutdown()
            self._pool = self._new()
            return self._pool.submit(work, item)

    def _new(self) -> ProcessPoolExecutor:
        # spawned: a fork of a process with threads may wait for locks that nobody holds
        context = multiprocessing.get_context("spawn")
        begin = partial(begin_worker, os.getpid(), max(1, cores() // self._workers))
        return ProcessPoolExecutor(self._workers, context, begin)


def begin_worker(parent: int, threads: int) -> None:
    """Set up a worker: it uses its share of the cores, ends with its parent, and ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)  # libraries read these when they are loaded, later
    Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)
    os._exit(1)


def _attempt(function: Callable[[Item], Result], item: Item) -> Outcome[Result]:
    try:
        return Outcome(function(item))
    except Exception as error:  # noqa: BLE001 (the outcome carries it)
        return Outcome(None, error)


def attempt_elsewhere(function: Callable[[Item], Result], item: Item) -> Outcome[Result]:
    """Return the outcome of an item; add the traceback to an error, which other processes do not have."""
    outcome = _attempt(function, item)
    if outcome.error is None or isinstance(outcome.error, QuadratError):
        return outcome
    error = _portable(outcome.error)
    error.add_note("".join(traceback.format_exception(outcome.error)))
    return Outcome(None, error)


def _portable(error: Exception) -> Exception:
    """Return an error that can be pickled: itself, or a RuntimeError with its text."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 this process has just written it
    except Exception:  # noqa: BLE001 errors of libraries may raise anything
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _settled(work: Callable[[Item], Outcome[Result]], item: Item, future: Future[Outcome[Result]]) -> Outcome[Result]:
    try:
        return future.result()
    except BrokenProcessPool:
        pass
    except Exception as error:  # noqa: BLE001 a result that can't be pickled
        return Outcome(None, error)
    with _Pool(1) as alone:
        try:
            return alone.submit(work, item).result()
        except BrokenProcessPool as error:
            return Outcome(
                None,
                WorkerError(
                    "the process that worked on it was killed",
                    got=error,
                    hint="the system kills processes when memory runs out: run fewer workers, or look in the "
                    "system's log why it ended",
                ),
            )


def ahead(items: Iterable[Item], depth: int = 16) -> Generator[Item, None, None]:
    """Yield ``items``, which a thread produces up to ``depth`` items ahead.

    A caller that may stop before the last item must close this generator; then the thread ends and ``items`` is closed.
    """
    iterator = iter(items)
    end: Any = object()
    with ThreadPoolExecutor(1) as thread:
        pending = deque(thread.submit(next, iterator, end) for _ in range(depth + 1))
        try:
            while (item := pending.popleft().result()) is not end:
                pending.append(thread.submit(next, iterator, end))
                yield item
        finally:
            for future in pending:
                future.cancel()
            if isinstance(items, Generator):
                thread.submit(items.close)
