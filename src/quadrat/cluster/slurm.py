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

SHOWN = 12
"""Last lines of a failed part's log that are shown."""


def submit(jobs: Sequence[Job], folder: Path, options: str, tries: int) -> list[Submitted]:
    """Submit the jobs, each after the one before it, and note them; raise ClusterError if SLURM refuses one."""
    _needs("sbatch")
    begin(folder, [job.name for job in jobs])
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
    return [*words, *shlex.split(options), str(folder / f"{job.name}.sh")]


def scripted(job: Job, tries: int, folder: Path) -> str:
    """Return the script of a job."""
    cache = os.environ.get("QUADRAT_CACHE") or str(CACHE.absolute())
    return script(job, "${SLURM_ARRAY_TASK_ID:-0}", cache, tries, folder)


def status(folder: Path) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Return of each job its name, its id and what it does; and what failed parts said last."""
    given = recorded(folder)
    queued = _queued([one.id for one in given])
    rows: list[tuple[str, str, str]] = []
    failed: list[str] = []
    for one in given:
        ended = one.results(folder)
        counts = Counter("done" if code == 0 else "failed" for code in ended.values())
        counts += Counter(state for job, state in queued if job == one.id)
        rest = max(1, one.parts) - sum(counts.values())
        counts += Counter({"not run" if counts["failed"] or _broken(rows) else "waiting": max(0, rest)})
        rows.append((one.name, one.id, ", ".join(f"{number} {state}" for state, number in counts.items())))
        for number, code in ended.items():
            if code:
                log = folder / f"{one.name}-{number}.log"
                lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
                failed.append("\n".join([f"{one.name} {number or ''}".strip() + f": {log}", *lines[-SHOWN:]]))
    return rows, failed


def cancel(folder: Path) -> list[Submitted]:
    """Cancel all jobs that have not ended, and return the submitted ones."""
    given = recorded(folder)
    _run(["scancel", *(one.id for one in given)])
    return given


def _broken(rows: Sequence[tuple[str, str, str]]) -> bool:
    return any("failed" in row[2] or "not run" in row[2] for row in rows)


def _queued(ids: Sequence[str]) -> list[tuple[str, str]]:
    """Return the jobs and states of what waits or runs, a part each."""
    said = _run(["squeue", "--noheader", "--array", "--format=%F %T", f"--jobs={','.join(ids)}"], missing=True)
    return [(job, state.lower()) for job, state in (line.split() for line in said.splitlines())]


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
