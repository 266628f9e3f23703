"""Submits the pipeline to SLURM: a chain of jobs, in which arrays of parts fill the shared cache.

https://slurm.schedmd.com/sbatch.html
"""

import os
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from quadrat.cluster.jobs import CACHE, Job, Submitted, begin, record, recorded, script
from quadrat.errors import ClusterError
from quadrat.runtime.process import sole_writer

SHOWN = 12
"""Last lines of a failed part's log that are shown."""


def submit(jobs: Sequence[Job], folder: Path, options: str, tries: int) -> list[Submitted]:
    """Submit the jobs, each after the one before it, and note them; raise ClusterError if SLURM refuses one."""
    _needs("sbatch")
    with sole_writer("submit", folder, folder / ".lock"):
        _free(folder)
        begin(folder, [job.name for job in jobs])
        return _chained(jobs, folder, options, tries)


def _chained(jobs: Sequence[Job], folder: Path, options: str, tries: int) -> list[Submitted]:
    given: list[Submitted] = []
    for job in jobs:
        command = commands(job, folder, options, given[-1].id if given else None)
        text = scripted(job, tries, folder)
        (folder / f"{job.name}.sh").write_text(text, encoding="utf-8")
        try:
            said = _run(command)
        except ClusterError:
            if given:
                _run(["scancel", *(one.id for one in given)])
            raise
        given.append(Submitted(job.name, said.strip().partition(";")[0], job.parts))
        record(folder, given)
    return given


def commands(job: Job, folder: Path, options: str, after: str | None) -> list[str]:
    """Return the words of the command that submits a job."""
    number = "%a" if job.parts else "0"
    words = ["sbatch", "--parsable", f"--job-name=quadrat-{job.name}", f"--output={folder / job.name}-{number}.log"]
    words += ["--requeue", "--open-mode=append"]  # a job whose machine dies runs again
    words += [f"--array=1-{job.parts}"] * bool(job.parts)
    words += ["--gres=gpu:1"] * job.gpu
    words += [f"--dependency=afterok:{after}", "--kill-on-invalid-dep=yes"] if after else []
    try:
        return [*words, *shlex.split(options), str(folder / f"{job.name}.sh")]
    except ValueError as error:
        raise ClusterError(
            "the options of sbatch can't be read", expected="words", got=f"{options}: {error}"
        ) from error


def scripted(job: Job, tries: int, folder: Path) -> str:
    """Return the script of a job."""
    cache = os.environ.get("QUADRAT_CACHE") or str(CACHE.absolute())
    return script(job, "${SLURM_ARRAY_TASK_ID:-0}", cache, tries, folder)


def status(folder: Path) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Return of each job its name, its id and what it does; and what failed parts said last.

    A part that SLURM knows no more, and that has left no exit status, is ``stopped``: cancelled, out of time or memory.
    """
    given = recorded(folder)
    queued = _queued([one.id for one in given])
    rows: list[tuple[str, str, str]] = []
    failed: list[str] = []
    broken = False
    for one in given:
        ended, states = one.results(folder), dict[int, str]()
        for number in range(1, one.parts + 1) if one.parts else (0,):
            log = folder / f"{one.name}-{number}.log"
            if number in ended and queued.get((one.id, number), "completing") == "completing":
                states[number] = "failed" if ended[number] else "done"
            else:
                lost = "not run" if broken and not log.exists() else "stopped"
                states[number] = queued.get((one.id, number), lost)
            if states[number] == "failed" or (states[number] == "stopped" and log.exists()):
                failed.append(_told(one, number, states[number], log))
        broken |= not {"failed", "stopped", "not run"}.isdisjoint(states.values())
        counts = Counter(states.values())
        rows.append((one.name, one.id, ", ".join(f"{number} {state}" for state, number in counts.items())))
    return rows, failed


def cancel(folder: Path) -> list[Submitted]:
    """Cancel all jobs that have not ended, and return the submitted ones."""
    given = recorded(folder)
    _run(["scancel", *(one.id for one in given)], missing=True)
    return given


def _free(folder: Path) -> None:
    """Raise ClusterError if jobs that were submitted before have not ended: DVC runs one command in a folder."""
    try:
        given = recorded(folder)
    except ClusterError:
        return
    queued = _queued([one.id for one in given])
    names = [f"{one.name} ({one.id})" for one in given if any(job == one.id for job, _ in queued)]
    if names:
        raise ClusterError(
            "jobs that were submitted before have not ended",
            got=", ".join(names),
            hint="`quadrat submit status` tells how far they are; `quadrat submit cancel` ends them",
        )


def _told(job: Submitted, number: int, state: str, log: Path) -> str:
    """Return the name of a part, its log, and the end of it."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    if state == "stopped":
        lines.append("stopped by SLURM, without an exit status: it was cancelled, or out of time or memory")
    return "\n".join([f"{job.name} {number or ''}".strip() + f": {log}", *lines[-SHOWN:]])


def _queued(ids: Sequence[str]) -> dict[tuple[str, int], str]:
    """Return the states of what waits or runs, by job and part; a job without parts has part 0."""
    said = _run(["squeue", "--noheader", "--array", "--format=%F %K %T", f"--jobs={','.join(ids)}"], missing=True)
    found = (line.split() for line in said.splitlines())
    return {(job, int(part) if part.isdigit() else 0): state.lower() for job, part, state in found}


def _needs(program: str) -> None:
    if shutil.which(program) is None:
        raise ClusterError(
            "SLURM's commands are not here", expected=program, hint="run it on a login node of the cluster"
        )


def _run(command: Sequence[str], *, missing: bool = False) -> str:
    """Return what a command prints; with ``missing``, nothing if SLURM has forgotten the jobs."""
    _needs(command[0])
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 SLURM's own commands
    if done.returncode and not (missing and "Invalid job id" in done.stderr):
        raise ClusterError(
            "SLURM refuses", got=done.stderr.strip() or f"status {done.returncode}", expected=shlex.join(command)
        )
    return done.stdout
