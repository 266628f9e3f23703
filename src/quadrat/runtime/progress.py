"""Progress of a stage: a bar on a terminal, lines elsewhere; and the time of each part."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from quadrat.errors import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Item = TypeVar("Item")


class Terminal(Console):
    """A console that prints control characters as escapes: names of files, classes and tags come from strangers."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of what is printed; only rich's own control codes stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


console = Terminal(stderr=True)

FIRST_LINE, LINE_EVERY = 2.0, 10.0
"""Seconds until the first line without a terminal, and between two lines."""


def print_error(error: Exception, to: Console = console) -> None:
    """Print an error and its type, without markup and line breaks."""
    notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
    to.print(Text.assemble((type(error).__name__, "bold red"), f": {error}{notes}"), soft_wrap=True)


def warn(line: str, to: Console = console) -> None:
    """Print a warning, without markup and line breaks."""
    to.print(Text.assemble(("warning", "yellow"), f": {line}"), soft_wrap=True)


@dataclass(frozen=True)
class Took:
    """Count and time of a part of a stage."""

    label: str
    unit: str
    count: int
    pixels: int
    """Pixels of images; 0 if they were not counted."""
    seconds: float


_voice = False

took: list[Took] = []
"""All parts that have ended in this process, in order."""


class Meter:
    """Counts up to ``total`` ``unit`` (a plural) under a ``label``. A context manager that can be nested."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        """Start at 0 when entered."""
        self._label, self._total, self._unit = label, total, unit
        self._done = self._pixels = 0

    def __enter__(self) -> Self:
        """Begin to count."""
        self._started = time.monotonic()
        self._last = self._started + FIRST_LINE - LINE_EVERY
        self._bar = _bars.add(self._label, self._total, self._unit) if console.is_terminal and _speaks() else None
        return self

    def __exit__(self, *exception: object) -> None:
        """End the bar, and record count and time."""
        if self._bar is not None:
            _bars.remove(self._bar)
        took.append(Took(self._label, self._unit, self._done, self._pixels, time.monotonic() - self._started))

    def advance(self, count: int = 1, note: str = "", pixels: int = 0) -> None:
        """Add ``count`` items with ``pixels`` of images; show ``note`` until the next."""
        self._done += count
        self._pixels += pixels
        now = time.monotonic()
        rate = f"{self._pixels / 1e6 / max(now - self._started, 1e-9):.3g} Mpix/s" if self._pixels else ""
        if self._bar is not None:
            _bars.advance(self._bar, count, " ".join(filter(None, (rate, note))))
        elif _speaks() and now - self._last >= LINE_EVERY and 0 < self._done < self._total:
            left = (now - self._started) / self._done * (self._total - self._done)
            parts = [f"{self._done} of {self._total} {self._unit}", rate, f"{left:.0f} s left", note]
            console.print(f"{self._label}: {', '.join(filter(None, parts))}", highlight=False, soft_wrap=True)
            self._last = now


def track(
    items: Iterable[Item], label: str, total: int, unit: str, pixels: Callable[[Item], int] | None = None
) -> Generator[Item, None, None]:
    """Yield the items and show how many of ``total`` are done; ``unit`` is their plural.

    ``pixels`` returns the px of an image that an item covers.
    """
    with Meter(label, total, unit) as meter:
        for item in items:
            yield item
            meter.advance(pixels=pixels(item) if pixels else 0)


class _Bars:
    """One display of all bars on a terminal. The last bar stays visible."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._display: Progress | None = None

    def add(self, label: str, total: int, unit: str) -> "TaskID":
        from rich import progress

        with self._lock:
            if self._display is None:
                names = "description", "fields[unit]", "fields[note]"
                described, units, note = (progress.TextColumn(f"{{task.{name}}}") for name in names)
                times = progress.TimeElapsedColumn(), progress.TimeRemainingColumn()
                bar, counts = progress.BarColumn(), progress.MofNCompleteColumn()
                columns = described, bar, counts, units, *times, note
                self._display = progress.Progress(*columns, console=console)
                self._display.start()
            return self._display.add_task(label, total=total, unit=unit, note="")

    def advance(self, bar: "TaskID", count: int, note: str) -> None:
        if self._display is not None:
            self._display.update(bar, advance=count)
            if note:
                self._display.update(bar, note=note)

    def remove(self, bar: "TaskID") -> None:
        with self._lock:
            if self._display is not None and len(self._display.tasks) > 1:
                self._display.remove_task(bar)
            elif self._display is not None:
                self._display.stop()
                self._display = None


_bars = _Bars()


def speak() -> None:
    """Let this worker show its progress, for the process that has started it merely waits."""
    global _voice  # noqa: PLW0603 a process has one
    _voice = True


def _speaks() -> bool:
    """Return whether this is the process that the user has started, or speaks for it; other workers print nothing."""
    return _voice or multiprocessing.parent_process() is None
