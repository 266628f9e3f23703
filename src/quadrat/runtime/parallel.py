"""Where work runs: one function over many items, what came of them in the items' order."""

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
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from queue import Full, Queue
from threading import Event, Thread
from typing import Generic, Protocol, Self, TypeVar

from quadrat.errors import QuadratError, WorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")
Given_co = TypeVar("Given_co", covariant=True)

POLL = 0.5
"""Seconds between a worker's looks whether the process that it works for is still there."""


@dataclass(frozen=True)
class Outcome(Generic[Given_co]):
    """What came of an item: a result, or the error that was raised instead."""

    given: Given_co | None
    error: Exception | None = None

    def result(self) -> Given_co:
        """Return the result; raise the error."""
        if self.error is not None:
            raise self.error
        return self.given  # type: ignore[return-value]  # None only where that is the result


class Executor(Protocol):
    """Runs a function over items; what it gives does not depend on how it runs them.

    Nothing that can't be pickled may be handed to it, and no open file: it may work in other processes.
    """

    @property
    def workers(self) -> int:
        """How many items are worked on at once."""
        ...

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Outcome[Result]]:
        """Give what came of ``function(item)`` for each item, in order: an error of one does not touch the others."""
        ...


def results(outcomes: Iterable[Outcome[Result]]) -> Iterator[Result]:
    """Give the results; the first error ends it."""
    for outcome in outcomes:
        yield outcome.result()


@dataclass(frozen=True)
class Threads:
    """Threads of this process: for work that leaves the interpreter, as decoding does."""

    workers: int

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Outcome[Result]]:
        """Give outcomes in order, with at most twice as many items under way as there are workers."""
        work = partial(_attempt, function)
        if self.workers == 1:
            yield from map(work, items)
            return
        with ThreadPoolExecutor(self.workers) as pool:
            pending: deque[Future[Outcome[Result]]] = deque()
            try:
                for item in items:
                    pending.append(pool.submit(work, item))
                    if len(pending) >= 2 * self.workers:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def __str__(self) -> str:
        """Return what they are called in a line."""
        return "1 thread" if self.workers == 1 else f"{self.workers} threads"


@dataclass(frozen=True)
class Processes:
    """Processes of their own, on this machine: what one takes down with it is its own item alone."""

    workers: int

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Outcome[Result]]:
        """Give outcomes in order, with at most twice as many items under way as there are workers.

        A process may be killed: all that was under way is then done again, each item in a process of its own, so
        that the one that is to blame gets a WorkerError and the others what they are due.
        """
        work = partial(_attempt_elsewhere, function)
        pending: deque[tuple[Item, Future[Outcome[Result]]]] = deque()
        with _Pool(self.workers) as pool:
            for item in items:
                pending.append((item, pool.submit(work, item)))
                if len(pending) >= 2 * self.workers:
                    yield _settled(work, *pending.popleft())
            while pending:
                yield _settled(work, *pending.popleft())

    def __str__(self) -> str:
        """Return what they are called in a line."""
        return "1 process" if self.workers == 1 else f"{self.workers} processes"


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        begin = partial(_begin, os.getpid(), max(1, cores() // self._workers))
        return ProcessPoolExecutor(self._workers, context, begin)


def _begin(parent: int, threads: int) -> None:
    """Begin a worker: it takes its share of the cores, ends with its parent, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)  # read when their libraries are loaded, which is later
    Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)
    os._exit(1)


def _attempt(function: Callable[[Item], Result], item: Item) -> Outcome[Result]:
    try:
        return Outcome(function(item))
    except Exception as error:  # noqa: BLE001 (whoever takes the outcome sees it)
        return Outcome(None, error)


def _attempt_elsewhere(function: Callable[[Item], Result], item: Item) -> Outcome[Result]:
    """Return what came of an item, an error with what is known only in this process written into it."""
    outcome = _attempt(function, item)
    if outcome.error is None or isinstance(outcome.error, QuadratError):
        return outcome
    error = _portable(outcome.error)
    error.add_note("".join(traceback.format_exception(outcome.error)))
    return Outcome(None, error)


def _portable(error: Exception) -> Exception:
    """Return an error that comes to another process as it is; in place of one that doesn't, another that says it."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 what this process has just written
    except Exception:  # noqa: BLE001 errors of libraries, which may raise anything there
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
                    hint="the system kills what needs more memory than there is: run fewer workers, or find in the "
                    "system's log why it ended",
                ),
            )


def ahead(items: Iterable[Item], depth: int = 16) -> Generator[Item, None, None]:
    """Give ``items``, made in a thread of their own up to ``depth`` items ahead of who takes them.

    Who may end before the last must close it: then the thread has ended, and a generator that it ran is closed.
    """
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
            with closing(items) if isinstance(items, Generator) else nullcontext():
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
