"""Kills a command that does not end after a signal, because a library keeps the interpreter's lock.

Python handles a signal when its main thread gets the interpreter's lock. A library may keep that lock for minutes (GDAL
does while it copies a file), or forever (two threads that wait for each other), so no thread of Python can help. But
the system's handler needs no lock: it writes each signal to a pipe (``signal.set_wakeup_fd``), which a small process
of its own reads.
"""

import os
import select
import signal
import time
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Signals that end a command: Ctrl-C, and SIGTERM of systems and schedulers."""


def begin_watch(seconds: float) -> None:
    """Let a second process kill this one if it still runs ``seconds`` after SIGINT or SIGTERM, or at a second SIGINT.

    It sees only signals that Python handles, and ends with this process. Call it in the main thread, before others
    start.
    """
    told, tell = os.pipe()  # this process keeps its end until it ends
    os.set_blocking(tell, False)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # none may reach the new process before it ignores them
    own = os.getpid()
    if not os.fork():
        _watch(told, tell, own, seconds)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(told)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)


def _watch(told: int, tell: int, process: int, seconds: float) -> NoReturn:
    """Read signals of ``process`` until it ends, or has to be killed."""
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        os.close(tell)  # else the pipe would never end
        first = _next(told, SIGNALS, None)
        ended = first is None or _next(told, (signal.SIGINT,), time.monotonic() + seconds) is None
        if first and not ended and os.getppid() == process:
            os.write(2, f"killed after {signal.Signals(first).name}, because a library blocked it\n".encode())
            os.kill(process, signal.SIGKILL)
    finally:
        os._exit(0)


def _next(told: int, wanted: tuple[int, ...], until: float | None) -> int | None:
    """Return the next of the ``wanted`` signals, 0 if there is none ``until`` a time, or None if the process ends."""
    while True:
        if not select.select([told], [], [], None if until is None else max(0.0, until - time.monotonic()))[0]:
            return 0
        number = os.read(told, 1)
        if not number or number[0] in wanted:
            return number[0] if number else None
