"""Work comes back in order, wherever it ran, and errors come back too."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from quadrat.errors import ImageError, WorkerError
from quadrat.runtime.parallel import Executor, Processes, Threads, ahead, cores, results


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    def slow_for_even(n: int) -> int:
        time.sleep(0.002 * (n % 2 == 0))
        return n * n

    assert list(results(Threads(workers).map(slow_for_even, range(30)))) == [n * n for n in range(30)]


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_comes_to_who_takes_the_results(workers: int) -> None:
    def fail(n: int) -> int:
        if n == 5:
            raise ValueError("five")
        return n

    taken = []
    with pytest.raises(ValueError, match="five"):
        taken.extend(results(Threads(workers).map(fail, range(100))))  # type: ignore[func-returns-value]
    assert len(taken) <= 5


def test_no_more_is_under_way_than_twice_the_workers() -> None:
    begun = []

    def items() -> Iterator[int]:
        for n in range(100):
            begun.append(n)
            yield n

    results = Threads(2).map(lambda n: n, items())
    next(results)
    assert len(begun) <= 5


def test_ahead_gives_all_in_order_and_works_ahead() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield from range(3)
        made.set()

    given = ahead(items(), depth=8)
    assert next(given) == 0
    assert made.wait(5)  # the rest was made while nothing was taken
    assert list(given) == [1, 2]


def test_who_takes_no_more_leaves_no_generator_open() -> None:
    ended: list[str] = []

    def items() -> Generator[int, None, None]:
        try:
            yield from range(100)
        finally:
            ended.append(threading.current_thread().name)

    held = items()
    with closing(ahead(held, depth=2)) as taken:
        assert next(taken) == 0
    assert len(ended) == 1
    assert ended != [threading.current_thread().name]  # in the thread that ran it


def test_ahead_raises_what_was_raised_and_stops_when_left() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(ahead(broken()))

    def endless() -> Iterator[int]:
        while True:
            yield 1

    given = ahead(endless(), depth=2)
    next(given)
    before = threading.active_count()
    given.close()
    assert threading.active_count() == before - 1


EXECUTORS = [Threads(1), Threads(3), Processes(1), Processes(2)]


def square_but_five(n: int) -> int:
    if n == 5:
        raise ImageError("five", "s", got=ValueError("of a library"))
    return n * n


@pytest.mark.parametrize("executor", EXECUTORS, ids=str)
def test_an_error_touches_no_other_item(executor: Executor) -> None:
    outcomes = list(executor.map(square_but_five, range(9)))
    assert [one.given for one in outcomes] == [None if n == 5 else n * n for n in range(9)]
    assert str(outcomes[5].error) == "five\n  scene: s\n  got: of a library"


def end_at_three(n: int) -> tuple[int, int]:
    if n == 3:
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does with what takes too much memory
    return n, os.getpid()


def test_a_killed_worker_takes_its_own_item_with_it_and_no_other() -> None:
    outcomes = list(Processes(2).map(end_at_three, range(8)))
    assert [one.given and one.given[0] for one in outcomes] == [0, 1, 2, None, 4, 5, 6, 7]
    assert isinstance(outcomes[3].error, WorkerError)
    assert "memory runs out" in str(outcomes[3].error)
    assert os.getpid() not in {one.given[1] for one in outcomes if one.given}


class OwnError(Exception):
    """An error that can be pickled, but not read again."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


class LockedError(Exception):
    """An error that can't be pickled."""

    def __init__(self) -> None:
        super().__init__("locked")
        self.lock = threading.Lock()


def not_to_be_pickled(n: int) -> object:
    if n == 1:
        raise OwnError("one", "other")
    if n == 2:
        raise LockedError
    return threading.Lock() if n == 3 else n


def test_what_cannot_be_pickled_touches_no_other_item() -> None:
    outcomes = list(Processes(2).map(not_to_be_pickled, range(6)))
    assert [one.given for one in outcomes] == [0, None, None, None, 4, 5]
    assert str(outcomes[1].error) == "OwnError: one and other"
    assert str(outcomes[2].error) == "LockedError: locked"
    assert "in not_to_be_pickled" in "".join(getattr(outcomes[2].error, "__notes__", []))
    assert "cannot pickle" in str(outcomes[3].error)


def threads_of_torch(_: int) -> int:
    import torch

    return torch.get_num_threads()


def test_workers_share_the_cores() -> None:
    found = list(results(Processes(2).map(threads_of_torch, range(2))))
    assert found == [max(1, cores() // 2)] * 2


def stay(folder: str) -> None:
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_who_started_them(tmp_path: Path, number: signal.Signals) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from quadrat.runtime.parallel import Processes\n"
        "from quadrat.runtime.process import stoppable\n"
        "from tests.runtime.test_parallel import stay\n"
        "if __name__ == '__main__':\n"
        "    with stoppable():\n"
        "        list(Processes(2).map(stay, sys.argv[1:] * 2))\n"
    )
    folder = tmp_path / "running"
    folder.mkdir()
    path = os.pathsep.join(sys.path)
    started = subprocess.Popen([sys.executable, program, folder], env={**os.environ, "PYTHONPATH": path})
    until(lambda: len(list(folder.iterdir())) == 2)
    started.send_signal(number)
    assert started.wait(60) == -number
    until(lambda: not any(psutil.pid_exists(int(file.name)) for file in folder.iterdir()))


def until(true: Callable[[], bool]) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.1)
    pytest.fail("it never came true")


def test_an_error_is_raised_when_what_is_under_way_has_ended() -> None:
    ended: list[int] = []

    def work(number: int) -> int:
        if number == 0:
            raise ValueError("no zero")
        time.sleep(0.05)
        ended.append(number)
        return number

    outcomes = Threads(3).map(work, range(6))
    with pytest.raises(ValueError, match="no zero"):
        list(results(outcomes))
    seen = list(ended)
    assert {1, 2} <= {*seen}  # they had begun, and nothing is left for whoever collects the garbage
    assert next(outcomes, None) is None
    time.sleep(0.1)
    assert ended == seen


@pytest.mark.parametrize("kind", [Threads, Processes])
def test_workers_without_an_item_lend_their_threads_to_the_others(kind: type[Threads | Processes]) -> None:
    assert [kind(8).threads_each(items) for items in (0, 1, 2, 3, 8, 100)] == [8, 8, 4, 2, 1, 1]
