"""The pipeline as jobs of a cluster: one for each step, of which chip and predict have a part for each machine."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from quadrat.errors import ClusterError
from quadrat.runtime.files import write_json
from quadrat.runtime.process import sole_writer

STAGES = ("analyze", "chip", "train", "predict", "eval", "bundle")

FOLDER = Path(".dvc/tmp/quadrat-jobs")
"""Scripts, logs and results of the jobs; neither git nor DVC looks there."""

CACHE = Path(".dvc/tmp/quadrat-cache")
"""The shared cache where QUADRAT_CACHE isn't set, for machines that see the project's folder."""

RECORD = "submitted.json"

ENGINES = ("slurm", "batch")
"""Modules beside this one that run jobs."""

SHOWN = 12
"""Last lines of a failed part's log that are shown."""

OWN = "PYTHONPATH=src python -m quadrat"
"""The project's own code, as in ``dvc.yaml``."""


@dataclass(frozen=True)
class Job:
    """A job, which begins when the job before it has ended well."""

    name: str
    command: str
    stages: tuple[str, ...]
    """What it runs, or runs a part of."""
    parts: int = 0
    """Number of parts, which run side by side; ``{part}`` in the command is the number of one. 0: one job, no parts."""
    gpu: bool = False


@dataclass(frozen=True)
class Submitted:
    """A job that was given to an engine."""

    name: str
    id: str
    parts: int = 0

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of its parts; of a job without parts, 0."""
        return range(1, self.parts + 1) if self.parts else (0,)


@dataclass(frozen=True)
class Chain:
    """Jobs that were submitted together."""

    engine: str
    place: str
    """The URL where AWS Batch finds the project at its commit; empty of SLURM."""
    jobs: tuple[Submitted, ...]


class Engine(Protocol):
    """A module that runs jobs."""

    def status(self, folder: Path) -> tuple[list[tuple[str, str, str]], list[str]]:
        """Return of each job its name, its id and what it does; and what failed parts said last."""
        ...

    def logs(self, folder: Path, name: str | None) -> Iterator[tuple[str, str]]:
        """Yield the title and the text of the logs of a job, or of all."""
        ...

    def unended(self, given: Sequence[Submitted]) -> list[Submitted]:
        """Return those of the jobs that wait or run."""
        ...

    def end(self, given: Sequence[Submitted]) -> None:
        """End jobs; those that have ended already are left as they are."""
        ...


def plan(first: str, parts: int, *, gpu: bool) -> list[Job]:
    """Return the jobs of the pipeline from the stage ``first`` on.

    Parts fill the shared cache; the job after them lets DVC run the same stage, which finds all there, and record it.
    """
    if first not in STAGES:
        raise ClusterError("there is no such stage", expected=", ".join(STAGES), got=first)
    jobs = [
        (0, Job("analyze", "dvc repro analyze", ("params", "analyze"))),
        (1, Job("chip", f"{OWN} chip --part {{part}}/{parts}", ("chip",), parts)),
        (2, Job("train", "dvc repro train", ("chip", "train"), gpu=gpu)),
        (3, Job("predict", f"{OWN} predict --part {{part}}/{parts}", ("predict",), parts, gpu)),
        (5, Job("rest", "dvc repro", ("predict", "eval", "bundle"))),
    ]
    return [job for number, job in jobs if number >= STAGES.index(first)]


def attempts(job: Job, tries: int) -> str:
    """Return lines of a shell that run a job at most so often, or of a job in parts the ``$part``; they set status."""
    return f"""for attempt in $(seq {tries}); do
    status=0
    {job.command.format(part="$part")} || status=$?
    [ "$status" -eq 0 ] && break
    echo "quadrat submit: attempt $attempt of {tries} of {job.name} ended with $status" >&2
done"""


@contextmanager
def sole_chain(folder: Path) -> Iterator[None]:
    """Let one command submit at a time; raise ClusterError if jobs that were submitted before have not ended.

    DVC runs one command in a folder.
    """
    with sole_writer("submit", folder, folder / ".lock"):
        if (folder / RECORD).exists():
            before = recorded(folder)
            names = [f"{one.name} ({one.id})" for one in engine(before.engine).unended(before.jobs)]
            if names:
                raise ClusterError(
                    "jobs that were submitted before have not ended",
                    got=", ".join(names),
                    hint="`quadrat submit status` tells how far they are; `quadrat submit cancel` ends them",
                )
        yield


def give_all(jobs: Sequence[Job], folder: Path, chain: Chain, give: Callable[[Job, str | None], str]) -> Chain:
    """Give an engine the jobs, each after the one before it, and note them; if it refuses one, none is left.

    ``give`` takes a job and the id of the one before it, returns the job's id, and raises ClusterError.
    """
    given: list[Submitted] = []
    for job in jobs:
        try:
            number = give(job, given[-1].id if given else None)
        except ClusterError:
            if given:
                engine(chain.engine).end(given)
            raise
        given.append(Submitted(job.name, number, job.parts))
        chain = Chain(chain.engine, chain.place, tuple(given))
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / RECORD, asdict(chain), synced=False)
    return chain


def recorded(folder: Path) -> Chain:
    """Return what was submitted last; raise ClusterError if nothing was."""
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return Chain(content["engine"], content["place"], tuple(Submitted(**one) for one in content["jobs"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ClusterError(
            "no jobs were submitted from this folder",
            file=folder / RECORD,
            hint="`quadrat submit slurm` does, and `quadrat submit batch`",
        ) from error


def engine(name: str) -> Engine:
    """Return an engine by its name."""
    if name not in ENGINES:
        raise ClusterError("there is no such engine", expected=", ".join(ENGINES), got=name)
    return cast("Engine", import_module(f"quadrat.cluster.{name}"))


def logs(folder: Path, name: str | None) -> Iterator[tuple[str, str]]:
    """Return the titles and texts of the logs of a job, or of all; raise ClusterError if there is no such job."""
    chain = recorded(folder)
    names = [one.name for one in chain.jobs]
    if name is not None and name not in names:
        raise ClusterError("no such job was submitted", expected=", ".join(names), got=name)
    return engine(chain.engine).logs(folder, name)


def cancel(folder: Path) -> Sequence[Submitted]:
    """Cancel all jobs that have not ended, and return them."""
    chain = recorded(folder)
    runner = engine(chain.engine)
    waiting = runner.unended(chain.jobs)
    runner.end(chain.jobs)  # all: what was submitted just now may not be listed yet
    return waiting


def last(title: str, lines: Sequence[str]) -> str:
    """Return a title, and below it the end of a log."""
    return "\n".join([title, *lines[-SHOWN:]])
