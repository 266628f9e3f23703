"""The stages on a real Dask cluster on this machine: the same bytes, whoever is killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from quadrat.cluster import dask_cluster
from quadrat.cluster.dask_cluster import DaskCluster
from quadrat.cluster.identity import Identity, identity
from quadrat.errors import ClusterError, WorkerError
from quadrat.pipeline.predict import _executor
from tests.pipeline.test_increments import Ground, chipped, learn, predicted
from tests.pipeline.test_increments import models as models  # noqa: PLC0414 a fixture
from tests.project import ROOT, digests, environment, until

QUIET = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "20s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "OMP_NUM_THREADS": "1",
}


@dataclass
class Cluster:
    """A scheduler and workers, each a process of its own."""

    port: int
    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def scheduler(self) -> subprocess.Popen[bytes]:
        return self._started("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")

    def worker(self, threads: int = 1, path: Path = ROOT) -> subprocess.Popen[bytes]:
        """Start a worker that is restarted when it is killed."""
        options = ["--nthreads", str(threads), "--no-dashboard", "--local-directory", str(self.folder)]
        paths = os.pathsep.join([str(path / "src"), str(ROOT)])
        return self._started("worker", self.address, *options, PYTHONPATH=paths)

    def _started(self, *words: str, **variables: str) -> subprocess.Popen[bytes]:
        command = [str(Path(sys.executable).with_name("dask")), *words]
        with (self.folder / "log").open("ab") as log:
            started = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**environment(), **QUIET, **variables},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(started)
        return started


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[Cluster]:
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        made = Cluster(free.getsockname()[1], folder)
    made.scheduler()
    try:
        for _ in range(workers):
            made.worker()
        yield made
    finally:
        for process in made.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster"), 2) as made:
        yield made


def squared(number: int, folder: Path) -> int:
    """Square a number; kill the worker at 13, and once at 7."""
    if number == 13 or (number == 7 and not (folder / "once").exists()):
        (folder / "once").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 5:
        raise ValueError("no fives")
    time.sleep(0.05)
    return number * number


def test_outcomes_are_in_order_and_a_poison_item_is_named(two: Cluster, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    found = list(DaskCluster(two.address).map(partial(squared, folder=tmp_path), range(16)))
    assert [one.given for one in found] == [None if n in (5, 13) else n * n for n in range(16)]
    assert isinstance(found[5].error, ValueError)
    assert isinstance(found[13].error, WorkerError)
    assert list(tmp_path.glob(".part-*")) == []
    until(lambda: DaskCluster(two.address).workers == 2)


def slow(number: int) -> int:
    time.sleep(0.2)
    return number + 1


def test_a_restarted_scheduler_gets_what_was_under_way(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with cluster(tmp_path / "cluster", 1) as made:
        network: Any = {"": SimpleNamespace(network=True)}
        asked = DaskCluster(made.address, gpu=True)
        assert _executor(asked, network) == asked  # and not this process
        outcomes = DaskCluster(made.address).map(slow, range(12))
        found = [next(outcomes).given for _ in range(3)]
        for process in made.processes:
            os.killpg(process.pid, signal.SIGKILL)
        made.scheduler()
        made.worker()
        found += [one.given for one in outcomes]
    assert found == [*range(1, 13)]


@pytest.mark.parametrize("run", [chipped, predicted])
def test_the_same_bytes_while_workers_are_killed(
    run: Callable[..., list[str]], two: Cluster, models: list[Path], tmp_path: Path
) -> None:
    ground = Ground(tmp_path / "ground", ("a", "b", "c", "d"))
    learn(ground, models, 1)
    run(ground, tmp_path / "alone/out")
    done = Event()
    killer = Thread(target=killing, args=(two, done))
    killer.start()
    try:
        run(ground, tmp_path / "cluster/out", executor=DaskCluster(two.address))
    finally:
        done.set()
        killer.join()
    assert digests(tmp_path / "cluster/out") == digests(tmp_path / "alone/out")


def killing(made: Cluster, done: Event) -> None:
    """Kill a worker, which is started again, twice."""
    for seconds in (0.3, 4):
        if done.wait(seconds):
            return
        nanny = psutil.Process(made.processes[1].pid)
        for child in nanny.children():
            with suppress(psutil.NoSuchProcess):
                child.kill()


def test_a_worker_that_could_give_other_results_is_named(
    two: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = identity()
    for other, said in (
        (Identity("0" * 64, mine.versions), "code 000000000000"),
        (Identity(mine.code, tuple((n, "9.9" if n == "numpy" else v) for n, v in mine.versions)), "numpy 9.9"),
    ):
        monkeypatch.setattr(dask_cluster, "identity", partial(lambda other: other, other))
        with pytest.raises(ClusterError, match="other code or libraries") as error:
            list(DaskCluster(two.address).map(slow, range(3)))
        assert said in str(error.value)
        assert "tcp://127.0.0.1:" in str(error.value)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dask_cluster, "_marker", lambda: nullcontext("nowhere"))
    with pytest.raises(ClusterError, match="doesn't see the project's folder"):
        list(DaskCluster(two.address).map(slow, range(3)))


def test_without_scheduler_or_worker_or_with_threads_it_is_said(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(dask_cluster, "PATIENCE", 0.5)
    with pytest.raises(ClusterError, match="no scheduler answers"):
        list(DaskCluster("tcp://127.0.0.1:9").map(slow, range(3)))
    with pytest.raises(ClusterError, match="no scheduler answers"):
        list(DaskCluster("nonsense").map(slow, range(3)))
    with cluster(tmp_path / "cluster", 0) as made:
        monkeypatch.setattr(dask_cluster, "PATIENCE", 12)
        with pytest.raises(ClusterError, match="no worker"):
            list(DaskCluster(made.address).map(slow, range(3)))
        made.worker(threads=2)
        monkeypatch.setattr(dask_cluster, "PATIENCE", 60)
        with pytest.raises(ClusterError, match="several threads"):
            list(DaskCluster(made.address).map(slow, range(3)))
