"""Submits the pipeline to SLURM: a chain of jobs, in which arrays of parts fill the shared cache.

https://slurm.schedmd.com/sbatch.html
"""

import os
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from quadrat.cluster.jobs import CACHE, Chain, Job, Submitted, attempts, give_all, last, recorded, sole_chain
from quadrat.errors import ClusterError


def submit(jobs: Sequence[Job], folder: Path, options: str, tries: int) -> Chain:
    """Submit the jobs, each after the one before it, and note them; raise ClusterError if SLURM refuses one."""
    _needs("sbatch")
    with sole_chain(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for file in [file for job in jobs for end in ("status", "log") for file in folder.glob(f"{job.name}-*.{end}")]:
            file.unlink()
        return give_all(jobs, folder, Chain("slurm", "", ()), partial(_give, folder, options, tries))


def _give(folder: Path, options: str, tries: int, job: Job, after: str | None) -> str:
    command = commands(job, folder, options, after)
    (folder / f"{job.name}.sh").write_text(scripted(job, tries, folder), encoding="utf-8")
    return _run(command).strip().partition(";")[0]


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
    """Return the script of a job, which runs it, or the part that SLURM asks for, and leaves its exit status."""
    cache = os.environ.get("QUADRAT_CACHE") or str(CACHE.absolute())
    return f"""#!/bin/bash
# {job.name}: made by quadrat submit
cd {shlex.quote(str(Path.cwd()))} || exit 1
export QUADRAT_CACHE={shlex.quote(cache)}
part=${{SLURM_ARRAY_TASK_ID:-0}}
{attempts(job, tries)}
echo "$status" >{shlex.quote(str(folder / job.name))}-"$part".status
exit "$status"
"""


def status(folder: Path) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Return of each job its name, its id and what it does; and what failed parts said last.

    A part that SLURM knows no more, and that has left no exit status, is ``stopped``: cancelled, out of time or memory.
    """
    given = recorded(folder).jobs
    queued = _queued([one.id for one in given])
    rows: list[tuple[str, str, str]] = []
    failed: list[str] = []
    broken = False
    for one in given:
        ended, states = _results(one, folder), dict[int, str]()
        for number in one.numbers:
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


def logs(folder: Path, name: str | None) -> Iterator[tuple[str, str]]:
    """Yield the path and the text of the logs of a job, or of all, in order."""
    for file in sorted(folder.glob(f"{name or '*'}-*.log"), key=lambda file: file.stat().st_mtime):
        yield str(file), file.read_text(encoding="utf-8", errors="replace")


def unended(given: Sequence[Submitted]) -> list[Submitted]:
    """Return those of the jobs that wait or run."""
    queued = _queued([one.id for one in given])
    return [one for one in given if any(job == one.id for job, _ in queued)]


def end(given: Sequence[Submitted]) -> None:
    """End jobs; those that have ended already are left as they are."""
    _run(["scancel", *(one.id for one in given)], missing=True)


def _results(job: Submitted, folder: Path) -> dict[int, int]:
    """Return the exit status of each part that has ended, by its number."""
    found = {}
    for number in job.numbers:
        file = folder / f"{job.name}-{number}.status"
        text = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
        if text:  # else the part is about to write it
            found[number] = int(text)
    return found


def _told(job: Submitted, number: int, state: str, log: Path) -> str:
    """Return the name of a part, its log, and the end of it."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    if state == "stopped":
        lines.append("stopped by SLURM, without an exit status: it was cancelled, or out of time or memory")
    return last(f"{job.name} {number or ''}".strip() + f": {log}", lines)


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
