"""Reads an image in several threads, each with its own open files."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from queue import SimpleQueue
from typing import Protocol, TypeVar, cast

from quadrat.geo.grids.windows import Window
from quadrat.runtime.memory import Empty, Memory
from quadrat.runtime.parallel import Threads, results

Read_co = TypeVar("Read_co", covariant=True)


class Readable(Protocol[Read_co]):
    """An open image that one thread at a time reads by window."""

    def read(self, window: Window, empty: Empty) -> Read_co:
        """Return the window's content in arrays that ``empty`` allocates."""
        ...


def read_side_by_side(
    open_one: Callable[[], AbstractContextManager[Readable[Read_co]]], windows: Sequence[Window], readers: int
) -> Iterator[Read_co]:
    """Yield the content of ``windows`` in order; read at most ``2 * readers`` of them ahead."""
    with ExitStack() as files:
        free: SimpleQueue[Readable[Read_co]] = SimpleQueue()
        memory = Memory()
        for _ in range(readers):
            free.put(files.enter_context(open_one()))

        def read(window: Window) -> Read_co:
            mine = free.get()
            try:
                return mine.read(window, memory.empty)
            finally:
                free.put(mine)

        outcomes = Threads(readers).map(read, windows)
        # before the files, which other threads may still read
        files.callback(cast("Generator[object]", outcomes).close)
        yield from results(outcomes)
