"""An executor of Dask: scenes run on the workers of a cluster, which see the project's folder.

Who may reach a scheduler may run code on its workers: it belongs in a private network, or behind TLS.
"""

import asyncio
import pickle
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, TypeVar

from quadrat.cluster.dask_task import Task
from quadrat.cluster.identity import identity
from quadrat.errors import ClusterError, WorkerError
from quadrat.runtime.parallel import Outcome
from quadrat.runtime.progress import warn

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE = 60.0
"""Seconds to wait for a scheduler that is restarted, and for a first worker."""

TRIES = 2
"""How often an item is given to a cluster whose workers are killed while they have it. Dask itself tries four times
each, and counts the death of a worker against all items that it has."""

LOST = (CancelledError, asyncio.CancelledError, OSError)
"""Errors of a future whose scheduler has gone; those of the work itself come in outcomes."""

END: Any = object()


class LostError(Exception):
    """The scheduler doesn't answer any more."""


@dataclass
class Given:
    """An item under way, what comes of it, and how often its workers were killed."""

    item: Any
    future: Any
    killed: int = 0


@dataclass(frozen=True)
class DaskCluster:
    """The workers of the scheduler at ``address``, of one thread each.

    With ``gpu``, items go to workers that declare the resource ``GPU``, one at a time, if there are any.
    """

    address: str
    gpu: bool = False

    @property
    def workers(self) -> int:
        """How many workers there are now."""
        with self._client() as client:
            return len(_workers(client))

    def threads_each(self, items: int) -> int:  # noqa: ARG002 the protocol's
        """Return 1: each worker has one, however few items there are."""
        return 1

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Outcome[Result]]:
        """Yield outcomes in order, with at most twice as many items under way as there are workers.

        If the scheduler is restarted, what was under way runs again. An item whose workers are killed each time gets a
        WorkerError, the others get their outcomes. Raises ClusterError if a worker has other code, or doesn't see the
        folder.
        """
        with _marker() as marker:
            task = Task(function, str(Path.cwd()), marker, identity())
            waiting, given = iter(items), deque[Given]()
            while True:
                try:
                    with self._client() as client:
                        _check(client, task)
                        with closing(self._mapped(client, task, waiting, given)) as outcomes:
                            yield from outcomes
                        return
                except LostError as lost:
                    warn(f"the scheduler {self.address} is lost ({lost}): waiting {PATIENCE:.0f} s for another one")

    def __str__(self) -> str:
        """Return what they are called in a line."""
        return f"workers of {self.address}"

    def _mapped(
        self, client: Any, task: Task, waiting: Iterator[Any], given: deque[Given]
    ) -> Generator[Outcome[Any], None, None]:
        """Yield outcomes; ``given`` is what is under way, and what another scheduler takes if this one is lost."""
        for one in given:
            one.future = self._submit(client, task, one.item)
        try:
            while True:
                most = 2 * max(1, len(_workers(client)))
                while len(given) < most and (item := next(waiting, END)) is not END:
                    given.append(Given(item, self._submit(client, task, item)))
                if not given:
                    return
                outcome = self._outcome(client, task, given[0])
                given.popleft().future.release()  # the scheduler forgets what was taken
                yield outcome
        finally:
            for one in given:
                one.future.release()

    def _outcome(self, client: Any, task: Task, one: Given) -> Outcome[Any]:
        """Wait for the outcome of an item; raise ClusterError if a worker can't work on it."""
        from distributed import KilledWorker

        while True:
            try:
                outcome: Outcome[Any] = one.future.result()
            except KilledWorker as error:
                one.killed += 1
                if one.killed == TRIES:
                    return Outcome(None, _killed(error))
                one.future = self._submit(client, task, one.item)
            except LOST as error:
                raise LostError(type(error).__name__) from error
            except Exception as error:  # what can't be sent, or loaded
                if client.status != "running":
                    raise LostError(client.status) from error
                return Outcome(None, error)
            else:
                if isinstance(outcome.error, ClusterError):
                    raise outcome.error
                return outcome

    def _submit(self, client: Any, task: Task, item: Any) -> Any:
        try:
            gpus = self.gpu and any("GPU" in one["resources"] for one in _workers(client).values())
            sent = pickle.dumps(partial(task, item))
            return client.submit(_loaded(), sent, pure=False, resources={"GPU": 1} if gpus else None)
        except LOST as error:
            raise LostError(type(error).__name__) from error

    @contextmanager
    def _client(self) -> Iterator[Any]:
        """Connect; raise ClusterError if no scheduler answers for PATIENCE seconds."""
        try:
            from distributed import Client
            from distributed.comm.addressing import get_address_host_port
        except ModuleNotFoundError as error:
            raise ClusterError(
                "a Dask cluster needs the package distributed, which isn't installed",
                hint='pip install "quadrat[cluster]"',
            ) from error
        until = time.monotonic() + PATIENCE
        while True:
            try:
                get_address_host_port(
                    self.address
                )  # a client of a wrong one would be closed late, and with a traceback
                client: Any = Client(self.address, timeout=5, set_as_default=False)  # type: ignore[no-untyped-call]
                break
            except (OSError, ValueError) as error:
                if time.monotonic() > until or isinstance(error, ValueError):
                    raise ClusterError(
                        "no scheduler answers",
                        file=self.address,
                        got=f"{type(error).__name__}: {error}",
                        hint="check QUADRAT_SCHEDULER; `dask scheduler` starts one and tells its address",
                    ) from error
                time.sleep(0.5)
        with client:
            yield client


@contextmanager
def _marker() -> Iterator[str]:
    """Yield the name of a file in this folder, which is there as long as the work goes on."""
    with NamedTemporaryFile(prefix=".part-cluster-", dir=Path.cwd()) as file:
        yield Path(file.name).name


def _workers(client: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return found


def _check(client: Any, task: Task) -> None:
    """Wait for a worker; raise ClusterError if there is none, or one that can't do the work."""
    until = time.monotonic() + PATIENCE
    while not _workers(client):
        if time.monotonic() > until:
            raise ClusterError(
                "the cluster has no worker",
                file=client.scheduler.address,
                hint="start some in the project's folder: PYTHONPATH=src dask worker ADDRESS --nthreads 1",
            )
        time.sleep(0.2)
    for address, about in _workers(client).items():
        if about["nthreads"] != 1:
            raise ClusterError(
                "a worker has several threads, but GDAL and PyTorch have their own",
                expected="1 thread a worker",
                got=f"{address}: {about['nthreads']} threads",
                hint="start more workers, with --nthreads 1",
            )
    for address, error in client.run(task.check, on_error="return").items():
        if isinstance(error, ClusterError):
            raise error
        if isinstance(error, Exception) and not isinstance(
            error, OSError
        ):  # such a worker is gone; each task asks again
            raise ClusterError(
                "a worker can't load quadrat",
                got=f"{address}: {type(error).__name__}: {error}",
                hint="start workers in the project's folder, in its environment, with PYTHONPATH=src",
            ) from error


def _loaded() -> Callable[[bytes], Any]:
    """Return what calls a pickled function; being local, it travels by value: the scheduler has no quadrat to load."""

    def call(content: bytes) -> Any:
        import pickle

        return pickle.loads(content)()  # noqa: S301 who reaches the scheduler may run code anyway

    return call


def _killed(error: Exception) -> WorkerError:
    return WorkerError(
        "the workers that worked on it were killed, each time",
        got=f"{type(error).__name__}: {error}",
        hint="the system kills workers when memory runs out: give them more (--memory-limit), or look in their logs",
    )
