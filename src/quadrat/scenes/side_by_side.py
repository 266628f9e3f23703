"""Reading an image in several threads, each with files of its own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from queue import SimpleQueue
from typing import Protocol, TypeVar

from quadrat.executor import Threads, results
from quadrat.windows import Window

Read_co = TypeVar("Read_co", covariant=True)


class Readable(Protocol[Read_co]):
    """What is open and read by window, by one thread at a time."""

    def read(self, window: Window) -> Read_co:
        """Return what is in the window."""
        ...


def read_side_by_side(
    open_one: Callable[[], AbstractContextManager[Readable[Read_co]]], windows: Sequence[Window], readers: int
) -> Iterator[Read_co]:
    """Give what ``windows`` hold, in their order, at most ``2 * readers`` of them ahead of who takes them."""
    with ExitStack() as files:
        free: SimpleQueue[Readable[Read_co]] = SimpleQueue()
        for _ in range(readers):
            free.put(files.enter_context(open_one()))

        def read(window: Window) -> Read_co:
            mine = free.get()
            try:
                return mine.read(window)
            finally:
                free.put(mine)

        yield from results(Threads(readers).map(read, windows))
