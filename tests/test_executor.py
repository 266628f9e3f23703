"""Work comes back in order, wherever it ran, and errors come back too."""

import threading
import time
from collections.abc import Iterator

import pytest

from quadrat.executor import Threads, ahead


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    def slow_for_even(n: int) -> int:
        time.sleep(0.002 * (n % 2 == 0))
        return n * n

    assert list(Threads(workers).map(slow_for_even, range(30))) == [n * n for n in range(30)]


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_comes_to_who_takes_the_results(workers: int) -> None:
    def fail(n: int) -> int:
        if n == 5:
            raise ValueError("five")
        return n

    taken = []
    with pytest.raises(ValueError, match="five"):
        taken.extend(Threads(workers).map(fail, range(100)))  # type: ignore[func-returns-value]
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
