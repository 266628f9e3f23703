"""How a command runs: one stage at a time in a workspace, not longer than DVC, and ended by signals in order."""

import contextlib
import errno
import fcntl
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import TYPE_CHECKING

from quadrat.errors import BusyError
from quadrat.runtime.progress import console

if TYPE_CHECKING:
    import psutil

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What asks a command to end: Ctrl-C, and what systems and schedulers send."""

SHELLS = {"ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "sh", "tcsh", "zsh"}

EVERY = 0.5
"""Seconds between two looks whether DVC is still there."""

GRACE = 10.0
"""Seconds that a stage has to end in order when DVC is gone."""

LAST = 4
"""Seconds that a command has to end in order when a signal asks for it; then it ends as if it had been killed."""


class Stopped(BaseException):
    """A signal asks the command to end; no Exception, so that nothing on its way takes it for an error."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGINT and SIGTERM unwind what runs, so that files and threads are left in order, and then end by them.

    So the shell, DVC or make sees the usual status: 130 or 143. A second Ctrl-C ends at once. A signal that whoever
    started the command has told it to ignore stays ignored.

    The signal may come while Python takes or gives back a lock, which then may stay taken, or be given back twice:
    so whatever error comes out is the signal's, and a command that LAST seconds later is still there is ended: threads
    at work on a large scene take no note of signals. What such a command leaves half done, the next run removes.
    """
    asked: list[signal.Signals] = []

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one is enough: DVC's end and a scheduler may both ask
        signal.alarm(LAST + 2)  # the system's own end, where a library lets no thread of Python run
        Thread(target=_end, args=(number,), daemon=True).start()
        asked.append(signal.Signals(number))
        raise Stopped

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    except BaseException:
        if not asked:
            raise
        with contextlib.suppress(OSError):  # nobody may be there to read it
            console.print(_stopped_by(asked[0]))
        signal.signal(asked[0], signal.SIG_DFL)
        signal.raise_signal(asked[0])


def _end(number: int) -> None:
    """End the process when it has had its time, with the status that shells give to the signal."""
    time.sleep(LAST)
    with contextlib.suppress(OSError):
        os.write(2, f"{_stopped_by(signal.Signals(number))}\n".encode())
    os._exit(128 + number)


def _stopped_by(number: signal.Signals) -> str:
    return f"stopped by {number.name}; what is written is whole: run it again to go on"


def end_with_dvc() -> None:
    """Have a stage that DVC has started end when DVC is gone, killed as it may be: it would run on unseen.

    Between both there may be shells, which outlive DVC: so the nearest process above that is none is waited for, in a
    thread. Outside of DVC nothing is done: a command may outlive the terminal that it was started from.
    """
    if "DVC_STAGE" not in os.environ:
        return
    import psutil

    above = psutil.Process().parents()
    starter = next((process for process in above if process.name() not in SHELLS), None)
    if starter is not None:
        Thread(target=_follow, args=(starter,), daemon=True).start()


@contextmanager
def alone(stage: str, file: Path) -> Iterator[None]:
    """Hold the workspace for a stage; raise BusyError at once where another stage runs in it.

    Stages read what others write, so there is one lock for all of them. It is the kernel's (flock) on ``file``, which
    stays and says who held it last: the lock goes with the process, however that ends.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            time.sleep(0.05)  # so that who has just taken it has said so
            raise BusyError(
                "another stage runs in this workspace",
                file=file,
                got=file.read_text(encoding="utf-8").strip(),
                hint="wait for it, or end that process; for two runs side by side, run one as `dvc exp run --temp`, "
                "which has a workspace of its own",
            ) from error
        except OSError as error:
            if error.errno not in {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}:
                raise
            console.print(f"warning: {file} can't be locked here ({error}): don't run two stages at once", markup=False)
        lock.truncate(0)
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        lock.write(f"stage {stage}, process {os.getpid()} on {socket.gethostname()}, since {since}\n")
        lock.flush()
        yield


def _follow(starter: "psutil.Process") -> None:
    while _lives(starter):
        time.sleep(EVERY)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)


def _lives(process: "psutil.Process") -> bool:
    """Return whether a process still runs; one that has ended may wait long for who is to take note of it."""
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
