"""Run one measurement in this process: ``python -m benchmarks.measure floors.decode JOB RESULT``."""

import importlib
import json
import sys
import warnings
from pathlib import Path

from benchmarks.job import Job
from quadrat.__main__ import settle


def main() -> None:
    """Run it."""
    name, job, result = sys.argv[1:]
    warnings.filterwarnings("ignore")
    settle()
    module, _, function = name.partition(".")
    found = getattr(importlib.import_module(f"benchmarks.{module}"), function)(Job.read(job))
    Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
