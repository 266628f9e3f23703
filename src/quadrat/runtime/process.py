"""Process control: one writer of a workspace or output at a time, stages that end with DVC, clean ends by signals."""

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
from typing import IO, TYPE_CHECKING

from quadrat.errors import BusyError
from quadrat.runtime.progress import console
from quadrat.runtime.watcher import SIGNALS, begin_watch

if TYPE_CHECKING:
    import psutil

SHELLS = {"ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "sh", "tcsh", "zsh"}

EVERY = 0.5
"""Seconds between two checks that DVC is alive."""

GRACE = 10.0
"""Seconds that a stage has for a clean end when DVC is gone."""

LAST = 4
"""Seconds that a command has for a clean end after a signal."""


class Stopped(BaseException):
    """A signal has ended the command. It is no Exception, so that no handler of errors catches it."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGINT and SIGTERM unwind the stack, which closes files and threads, and then end the process by the signal.

    The shell, DVC or make sees the usual status, 130 or 143. A second Ctrl-C ends the process at once. A signal that
    the parent process set to be ignored stays ignored.

    The signal may arrive while Python takes or releases a lock, so any error after it counts as the signal. A command
    that still runs after LAST seconds is ended, because threads that work on a large scene do not see signals; and two
    seconds later it is killed, even if a library lets no thread of Python run. The next run removes its partial files.
    """
    asked: list[signal.Signals] = []

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one is enough: DVC and a scheduler may both send it
        Thread(target=_end, args=(number,), daemon=True).start()
        asked.append(signal.Signals(number))
        raise Stopped

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    begin_watch(LAST + 2)
    try:
        yield
    except BaseException:
        if not asked:
            raise
        with contextlib.suppress(OSError):  # stderr may be closed
            console.print(_stopped_by(asked[0]))
        signal.signal(asked[0], signal.SIG_DFL)
        signal.raise_signal(asked[0])


def _end(number: int) -> None:
    """End the process after LAST seconds, with the status that shells use for the signal."""
    time.sleep(LAST)
    with contextlib.suppress(OSError):
        os.write(2, f"{_stopped_by(signal.Signals(number))}\n".encode())
    os._exit(128 + number)


def _stopped_by(number: signal.Signals) -> str:
    return f"stopped by {number.name}; written files are complete; run it again to go on"


def end_with_dvc() -> None:
    """End a stage that DVC has started when the DVC process ends, also when it is killed.

    A shell between both may outlive DVC, so a thread watches the nearest parent process that is no shell. Outside of
    DVC this does nothing: a command may outlive its terminal.
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
    """Lock the workspace for a stage; raise BusyError if another stage runs in it.

    Stages read the outputs of others, so they share one lock. Its file stays and names the last holder.
    """
    hint = (
        "wait for it, or end that process; for two runs side by side, run one as `dvc exp run --temp`, which has a "
        "workspace of its own"
    )
    with _locked(file, f"stage {stage}", "another stage runs in this workspace", hint):
        yield


@contextmanager
def sole_writer(command: str, out: Path, file: Path) -> Iterator[None]:
    """Lock the output ``out`` for a command; raise BusyError if another command has it.

    The lock is on ``file``, which is removed at the end.
    """
    hint = "wait for it, or name another output folder"
    with _locked(file, f"quadrat {command}", f"another command writes to {out}", hint):
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


@contextmanager
def _locked(file: Path, holder: str, problem: str, hint: str) -> Iterator[None]:
    """Hold the kernel's lock (flock) on ``file``, which ends with the process, and name the holder in it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with file.open("a+", encoding="utf-8") as lock:
            _lock(lock, file, problem, hint)
            if not _is_at(lock, file):
                continue  # its holder has just removed it
            lock.truncate(0)
            since = datetime.now().astimezone().isoformat(" ", "seconds")
            lock.write(f"{holder}, process {os.getpid()} on {socket.gethostname()}, since {since}\n")
            lock.flush()
            yield
            return


def _lock(lock: IO[str], file: Path, problem: str, hint: str) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        time.sleep(0.05)  # time for a new holder to write its name
        lock.seek(0)
        raise BusyError(problem, file=file, got=lock.read().strip(), hint=hint) from error
    except OSError as error:
        if error.errno not in {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}:
            raise
        console.print(
            f"warning: {file} can't be locked here ({error}): don't run two stages at once, or two commands that write "
            "to one folder",
            markup=False,
        )


def _is_at(lock: IO[str], file: Path) -> bool:
    """Return whether ``file`` is still the open file ``lock``."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(lock.fileno()), file.stat())
    return False


def _follow(starter: "psutil.Process") -> None:
    while _lives(starter):
        time.sleep(EVERY)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)


def _lives(process: "psutil.Process") -> bool:
    """Return whether a process still runs; a zombie does not."""
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
