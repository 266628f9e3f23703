"""How far a stage has come: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterable, Iterator
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

Item = TypeVar("Item")

console = Console(stderr=True)

LINE_EVERY = 10.0
"""Seconds between two lines where there is no terminal."""


def tell(error: Exception, to: Console = console) -> None:
    """Print what went wrong, its kind first, as it stands: a path is no markup, and no line is broken."""
    to.print(Text.assemble((type(error).__name__, "bold red"), f": {error}"), soft_wrap=True)


def warn(line: str, to: Console = console) -> None:
    """Print what may be wrong, as it stands."""
    to.print(Text.assemble(("warning", "yellow"), f": {line}"), soft_wrap=True)


class Meter:
    """Counts up to ``total`` ``unit`` (a plural) under a ``label``. A context manager."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        """Start at 0 when entered."""
        self._label, self._total, self._unit, self._done = label, total, unit, 0
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        """Begin to count."""
        self._started = self._last = time.monotonic()
        if console.is_terminal:
            described, unit, note = (TextColumn(t) for t in ("{task.description}", self._unit, "{task.fields[note]}"))
            times = TimeElapsedColumn(), TimeRemainingColumn()
            self._bar = Progress(described, BarColumn(), MofNCompleteColumn(), unit, *times, note, console=console)
            self._task = self._bar.add_task(self._label, total=self._total, note="")
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the bar as it stands."""
        if self._bar:
            self._bar.stop()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count ``count`` more; ``note`` is said beside it until the next."""
        self._done += count
        if self._bar:
            self._bar.update(self._task, advance=count)
            if note:
                self._bar.update(self._task, note=note)
            return
        now = time.monotonic()
        if now - self._last >= LINE_EVERY and 0 < self._done < self._total:
            left = (now - self._started) / self._done * (self._total - self._done)
            line = f"{self._label}: {self._done} of {self._total} {self._unit}, {left:.0f} s left"
            console.print(f"{line}, {note}" if note else line, highlight=False, soft_wrap=True)
            self._last = now


def track(items: Iterable[Item], label: str, total: int, unit: str) -> Iterator[Item]:
    """Give the items on, and show how many of ``total`` are done; ``unit`` names them in the plural."""
    with Meter(label, total, unit) as meter:
        for item in items:
            yield item
            meter.advance()
