"""Runs jobs one after the other, each in a process of its own that ``quadrat apply`` would be.

A process can be ended at once, its memory is given back, and what an image of a stranger does to it ends with it.
"""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quadrat.errors import QuadratError
from quadrat.server.guard.answers import without_folders
from quadrat.server.jobs.store import ENDED, Job, Store, now
from quadrat.server.limits import Limits

COUNTED = re.compile(r": (\d+) of (\d+) windows")
"""A line about progress."""

ERROR_LINES = 8
"""Last lines of a process that failed, which tell why."""

GRACE = 5.0
"""Seconds for a process to end when it is told to."""


TOLD = re.compile(r"(\w+Error: .*|  \w+: .*)")
"""Lines of an error in words, which a client may see."""

NO_ROOM = "the server couldn't run it; its log says why"

log = logging.getLogger("quadrat.server")


@dataclass(frozen=True)
class Runs:
    """What jobs run."""

    bundle: Path
    md5: str | None = None
    """Its hash: jobs that were sent to another bundle, before the server was started anew, aren't run."""
    options: tuple[str, ...] = ()
    """Of ``quadrat apply``, so that jobs give what the server gives directly."""


class FullError(Exception):
    """Too many jobs wait, or there is no room for them."""


class Jobs:
    """Jobs of a server, and the thread that has them run."""

    def __init__(self, folder: Path, runs: Runs, limits: Limits) -> None:
        """Read the jobs of ``folder``; they run from ``start`` on."""
        self.store = Store(folder)
        self._runs, self._limits = runs, limits
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._open = True
        self._running: tuple[str, subprocess.Popen[str]] | None = None
        self._thread = threading.Thread(target=self._run, name="quadrat-jobs", daemon=True)

    def start(self) -> None:
        """Begin to run jobs, also those that an earlier server has left."""
        self._thread.start()

    def close(self) -> None:
        """End the process that runs; its job begins anew when a server starts here again."""
        self._open = False
        self._wake.set()
        self._stop(None)
        if self._thread.is_alive():
            self._thread.join(GRACE + 1)

    def check_room(self) -> None:
        """Raise FullError if no further job may wait."""
        self.store.prune(self._limits.kept_jobs - 1, self._limits.job_bytes)
        counts = self.store.counts()
        if counts["accepted"] >= self._limits.waiting_jobs or self.store.bytes() > self._limits.job_bytes:
            raise FullError

    def add(self, folder: Path, asked: Mapping[str, Any]) -> Job:
        """Let a job wait for its turn."""
        job = self.store.add(folder, {**asked, "bundle": self._runs.md5})
        self._wake.set()
        return job

    def cancel(self, name: str) -> dict[str, Any]:
        """Cancel a job, or forget one that has ended; return its last state. Raises KeyError."""
        _, state = self.store.get(name)
        if state["status"] in ENDED:
            self.store.forget(name)
            return state
        self.store.note(name, status="dismissed", finished=now(), message="cancelled")
        self._stop(name)
        return self.store.get(name)[1]

    def counts(self) -> Counter[str]:
        """Return how many jobs are in each state."""
        return self.store.counts()

    def _stop(self, name: str | None) -> None:
        """End the process of a job, or any."""
        with self._lock:
            if self._running is None or name not in {None, self._running[0]}:
                return
            process = self._running[1]
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()

    def _run(self) -> None:
        while self._open:
            self._wake.clear()
            job = next((job for job, state in self.store.listed() if state["status"] == "accepted"), None)
            if job is None:
                self._wake.wait(1.0)
                continue
            try:
                self._work(job)
            except KeyError:
                continue  # it was cancelled and forgotten meanwhile
            except (OSError, QuadratError) as error:  # the disk is full: the next jobs run all the same
                log.warning("job %s couldn't run: %s", job.id, error)
                with suppress(OSError, QuadratError, KeyError):
                    self.store.note(job.id, status="failed", finished=now(), message=NO_ROOM)

    def _work(self, job: Job) -> None:
        if job.asked.get("bundle") != self._runs.md5:
            message = "another bundle is served now: send the image again"
            self.store.note(job.id, status="failed", finished=now(), message=message)
            return
        self.store.note(job.id, status="running", started=now(), progress=0)
        command = [sys.executable, "-m", "quadrat.server.jobs.process", str(os.getpid())]
        command += ["apply", str(self._runs.bundle), str(job.image), "--out", str(job.out)]
        command += [*self._runs.options, *job.asked["options"]]
        with subprocess.Popen(  # noqa: S603 (this program, with checked arguments)
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
        ) as process:
            with self._lock:
                self._running = job.id, process
            if not self._open or self.store.get(job.id)[1]["status"] == "dismissed":
                process.terminate()
            lines = self._followed(job, process)
            status = process.wait()
        with self._lock:
            self._running = None
        if not self._open:
            return  # it runs again with the next server
        if self.store.get(job.id)[1]["status"] == "dismissed":
            return
        if status == 0:
            job.image.unlink(missing_ok=True)
            self.store.note(job.id, status="successful", finished=now(), progress=100, message="")
        else:
            log.warning("job %s ended with %s:\n%s", job.id, status, "\n".join(lines))
            self.store.note(job.id, status="failed", finished=now(), message=reason(lines))

    def _followed(self, job: Job, process: "subprocess.Popen[str]") -> list[str]:
        """Note progress while a process runs; return its last lines."""
        last: list[str] = []
        assert process.stderr is not None
        for line in process.stderr:
            found = COUNTED.search(line)
            if found:
                self.store.note(job.id, progress=int(100 * int(found[1]) / max(1, int(found[2]))))
            else:
                last = [*last, line.rstrip()][-ERROR_LINES:]
        return last


def reason(lines: list[str]) -> str:
    """Return what a client may know of why a process failed: an error in words, no stack trace and no folders."""
    first = next((number for number, line in enumerate(lines) if re.match(r"\w+Error: ", line)), None)
    told = [] if first is None else lines[first:]
    if not told or not all(TOLD.fullmatch(line) for line in lines[first:]) or any('File "' in line for line in lines):
        return "the process failed; the server's log says why"
    return without_folders("\n".join(told))
