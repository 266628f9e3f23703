"""A measurement: what is run on which ground, in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.ground import Ground

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Job:
    """What a measurement is told."""

    ground: Ground
    work: Path
    """The folder of what one measurement makes for the next: chips, models, predictions."""
    network: str = "deeplab"
    """Its function in ``peer/hubconf.py``."""
    stride: int = 256
    batch: int = 8
    doubt: bool = False
    """Whether predict writes the layer ``confidence``, of a model that is calibrated, and eval counts it."""

    @property
    def predicted(self) -> Path:
        """The raster that quadrat predicted of the last scene, and eval reads."""
        return self.work / "predictions" / f"s{self.ground.count - 1}" / "labels.tif"

    def written(self) -> str:
        """Return the job as JSON."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def read(cls, text: str) -> "Job":
        """Return the job that JSON tells."""
        told = json.loads(text)
        ground = told.pop("ground")
        ground = Ground(**{**ground, "folder": Path(ground["folder"])})
        return replace(cls(ground, Path(told.pop("work"))), **told)


class FailedError(Exception):
    """A measurement that ended in an error, with the end of what it printed."""


def measured(command: list[str], job: Job) -> dict[str, Any]:
    """Run a measurement; ``command`` takes the job and the file for what it measures."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is compiled, so what is compared is too
        done = subprocess.run(  # noqa: S603 (what is run is written here)
            [*command, job.written(), str(result)],
            cwd=job.work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not result.exists():
            raise FailedError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr[-3000:]}")
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found


def ours(function: str) -> list[str]:
    """Return the command of a measurement of this package, e.g. ``floors.decode``."""
    return [sys.executable, "-m", "benchmarks.measure", function]


def peers(python: Path, function: str) -> list[str]:
    """Return the command of a measurement of Raster Vision, in the environment of ``python``."""
    return [str(python), str(ROOT / "benchmarks" / "peer" / "run.py"), function]
