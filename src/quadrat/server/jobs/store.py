"""Jobs on disk: a folder for each, with what is asked, its state, the image, and the result."""

import json
import re
import secrets
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from quadrat.runtime.files import write_json

Status = Literal["accepted", "running", "successful", "failed", "dismissed"]

ENDED = ("successful", "failed", "dismissed")

NAME = re.compile(r"[A-Za-z0-9_-]{16,64}")
"""Names of jobs, which nobody can guess."""

REQUEST, STATE = "request.json", "state.json"


@dataclass(frozen=True)
class Job:
    """A job's folder, and what is asked."""

    folder: Path
    asked: Mapping[str, Any]
    """``file``, ``options`` (of ``quadrat apply``), ``form`` and ``layer`` of the result."""

    @property
    def id(self) -> str:
        """Its name."""
        return self.folder.name

    @property
    def image(self) -> Path:
        """The image that was sent."""
        return self.folder / str(self.asked["file"])

    @property
    def out(self) -> Path:
        """The folder of its layers."""
        return self.folder / "out"


class Store:
    """The jobs of a folder. Safe between threads."""

    def __init__(self, folder: Path) -> None:
        """Read what an earlier server has left; what it didn't finish receiving is removed."""
        self._folder = folder
        self._lock = threading.RLock()
        self._states: dict[str, dict[str, Any]] = {}
        self._jobs: dict[str, Job] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for each in sorted(folder.iterdir()):
            try:
                asked, state = (json.loads((each / name).read_bytes()) for name in (REQUEST, STATE))
                self._jobs[each.name], self._states[each.name] = Job(each, asked), dict(state)
            except (OSError, ValueError):
                shutil.rmtree(each, ignore_errors=True)
                continue
            if state.get("status") == "running":
                self.note(each.name, status="accepted", progress=0)

    def room(self) -> Path:
        """Return a new folder for an image that is received."""
        folder = self._folder / secrets.token_urlsafe(24)
        folder.mkdir()
        return folder

    def add(self, folder: Path, asked: Mapping[str, Any]) -> Job:
        """Note a job whose image is whole."""
        job = Job(folder, asked)
        write_json(folder / REQUEST, asked, synced=False)
        with self._lock:
            self._jobs[job.id] = job
            self._states[job.id] = {"status": "accepted", "progress": 0, "created": now(), "message": ""}
            self.note(job.id)
        return job

    def note(self, name: str, **changes: Any) -> None:
        """Note what has changed of a job's state."""
        with self._lock:
            state = self._states[name]
            state.update(changes, updated=now())
            write_json(self._jobs[name].folder / STATE, state, synced=False)

    def get(self, name: str) -> tuple[Job, dict[str, Any]]:
        """Return a job and its state; raise KeyError."""
        if not NAME.fullmatch(name):
            raise KeyError(name)
        with self._lock:
            return self._jobs[name], dict(self._states[name])

    def forget(self, name: str) -> None:
        """Remove a job and its files."""
        with self._lock:
            job = self._jobs.pop(name)
            del self._states[name]
        shutil.rmtree(job.folder, ignore_errors=True)

    def listed(self) -> list[tuple[Job, dict[str, Any]]]:
        """Return all jobs with their states, the oldest first."""
        with self._lock:
            found = [(self._jobs[name], dict(state)) for name, state in self._states.items()]
        return sorted(found, key=lambda each: str(each[1]["created"]))

    def counts(self) -> Counter[str]:
        """Return how many jobs are in each state."""
        with self._lock:
            return Counter(str(state["status"]) for state in self._states.values())

    def bytes(self) -> int:
        """Return the size of all files of jobs."""
        return sum(_sizes(self._folder))

    def prune(self, count: int, most: int) -> None:
        """Remove ended jobs, the oldest first, until there are ``count`` at most, of ``most`` bytes."""
        ended = [job.id for job, state in self.listed() if state["status"] in ENDED]
        while ended and (len(self._jobs) > count or self.bytes() > most):
            with suppress(KeyError):
                self.forget(ended.pop(0))


def _sizes(folder: Path) -> Iterator[int]:
    for file in folder.rglob("*"):
        with suppress(OSError):
            if file.is_file():
                yield file.stat().st_size


def now() -> str:
    """Return the time as in JSON."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
