"""Several threads that read one image: files close when nobody reads any more."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import numpy as np
import pytest

from quadrat.geo.grids.windows import Window, strips
from quadrat.geo.reading.parallel_reader import read_side_by_side
from quadrat.runtime.memory import Empty


class Slow:
    """Is read slowly, but for the second window, which fails at once, while others are read."""

    def __init__(self) -> None:
        self.closed, self.late = False, False
        self.reading = Event()

    def read(self, window: Window, _: Empty = np.empty) -> Window:
        if window.row == 1:
            assert self.reading.wait(10)
            raise OSError("damaged")
        if window.row > 1:
            self.reading.set()
            time.sleep(0.1)
        self.late = self.late or self.closed
        return window


@pytest.mark.parametrize("ends", ["error", "early"])
def test_files_are_closed_after_all_have_read(ends: str) -> None:
    opened: list[Slow] = []
    reading = Event()

    @contextmanager
    def one() -> Iterator[Slow]:
        mine = Slow()
        mine.reading = reading
        opened.append(mine)
        try:
            yield mine
        finally:
            mine.closed = True

    windows = [*strips(Window(0, 0, 12, 4), 1)]
    given = read_side_by_side(one, windows, 3)
    assert next(given) == windows[0]
    if ends == "error":
        with pytest.raises(OSError, match="damaged") as error:
            next(given)
        time.sleep(0.3)
        assert error.tb is not None  # who holds the error holds all that it went through
    given.close()  # type: ignore[attr-defined]  # a generator
    time.sleep(0.3)
    assert [one.closed for one in opened] == [True] * 3
    assert not any(one.late for one in opened)
