"""The pipeline as jobs of a cluster: one for each step, of which chip and predict have a part for each machine."""

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from quadrat.errors import ClusterError
from quadrat.runtime.files import write_json

STAGES = ("analyze", "chip", "train", "predict", "eval", "bundle")

FOLDER = Path(".dvc/tmp/quadrat-jobs")
"""Scripts, logs and results of the jobs; neither git nor DVC looks there."""

CACHE = Path(".dvc/tmp/quadrat-cache")
"""The shared cache where QUADRAT_CACHE isn't set, for machines that see the project's folder."""

RECORD = "submitted.json"

OWN = "PYTHONPATH=src python -m quadrat"
"""The project's own code, as in ``dvc.yaml``."""


@dataclass(frozen=True)
class Job:
    """A job, which begins when the job before it has ended well."""

    name: str
    command: str
    parts: int = 0
    """Number of parts, which run side by side; ``{part}`` in the command is the number of one. 0: one job, no parts."""
    gpu: bool = False


@dataclass(frozen=True)
class Submitted:
    """A job that was given to the cluster."""

    name: str
    id: str
    parts: int = 0

    def results(self, folder: Path) -> dict[int, int]:
        """Return the exit status of each part that has ended, by its number; of a job without parts, of 0."""
        found = {}
        for number in range(1, self.parts + 1) if self.parts else (0,):
            file = folder / f"{self.name}-{number}.status"
            text = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
            if text:  # else the part is about to write it
                found[number] = int(text)
        return found


def plan(first: str, parts: int, *, gpu: bool) -> list[Job]:
    """Return the jobs of the pipeline from the stage ``first`` on.

    Parts fill the shared cache; the job after them lets DVC run the same stage, which finds all there, and record it.
    """
    if first not in STAGES:
        raise ClusterError("there is no such stage", expected=", ".join(STAGES), got=first)
    jobs = [
        (0, Job("analyze", "dvc repro analyze")),
        (1, Job("chip", f"{OWN} chip --part {{part}}/{parts}", parts)),
        (2, Job("train", "dvc repro train", gpu=gpu)),
        (3, Job("predict", f"{OWN} predict --part {{part}}/{parts}", parts, gpu)),
        (5, Job("rest", "dvc repro")),
    ]
    return [job for number, job in jobs if number >= STAGES.index(first)]


def script(job: Job, number: str, cache: str, tries: int, folder: Path) -> str:
    """Return a shell script that runs a job, or the part that the shell's ``number`` expands to, at most so often."""
    command = job.command.format(part=number)
    return f"""#!/bin/bash
# {job.name}: made by quadrat submit
cd {shlex.quote(str(Path.cwd()))} || exit 1
export QUADRAT_CACHE={shlex.quote(cache)}
part={number}
for attempt in $(seq {tries}); do
    {command}
    status=$?
    [ "$status" -eq 0 ] && break
    echo "quadrat submit: attempt $attempt of {tries} of {job.name} ended with $status" >&2
done
echo "$status" >{shlex.quote(str(folder / job.name))}-"$part".status
exit "$status"
"""


def begin(folder: Path, names: Sequence[str]) -> None:
    """Make the folder of the jobs, and forget what earlier jobs of these names left."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        for file in [*folder.glob(f"{name}-*.status"), *folder.glob(f"{name}-*.log")]:
            file.unlink()


def record(folder: Path, submitted: Sequence[Submitted]) -> None:
    """Note what was submitted."""
    write_json(folder / RECORD, {"jobs": [asdict(one) for one in submitted]}, synced=False)


def recorded(folder: Path) -> list[Submitted]:
    """Return what was submitted last; raise ClusterError if nothing was."""
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return [Submitted(**one) for one in content["jobs"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ClusterError(
            "no jobs were submitted from this folder", file=folder / RECORD, hint="`quadrat submit slurm` does"
        ) from error


def logs(folder: Path, name: str | None) -> Iterator[Path]:
    """Yield the logs of a job, or of all, in order."""
    yield from sorted(folder.glob(f"{name or '*'}-*.log"), key=lambda file: file.stat().st_mtime)
