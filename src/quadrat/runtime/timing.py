"""Time, throughput and memory of a stage."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from quadrat.runtime.files import write_json
from quadrat.runtime.parallel import Executor, cores
from quadrat.runtime.progress import Took, console, took


@contextmanager
def timed(stage: str, folder: Path, executor: Executor | None) -> Iterator[None]:
    """Print workers, cores and memory of a stage; after success write its times to ``folder``/<stage>.json.

    git and DVC ignore this file, because times differ between machines.
    """
    memory = psutil.virtual_memory()
    room = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB of memory free"
    workers = f"{executor}, " if executor is not None and executor.workers > 1 else ""
    console.print(f"{stage}: {workers}{cores()} cores, {room}", highlight=False)
    started = time.monotonic()
    took.clear()
    yield
    write_json(
        folder / f"{stage}.json",
        {
            "seconds": round(time.monotonic() - started, 2),
            "peak_memory_mb": _peak_memory(),
            "cores": cores(),
            "workers": None if executor is None else str(executor),
            "parts": [_shown(part) for part in took],
        },
        synced=False,
    )


def _shown(part: Took) -> dict[str, Any]:
    seconds = max(part.seconds, 1e-9)
    return {
        "what": part.label,
        "unit": part.unit,
        "count": part.count,
        "mpix": round(part.pixels / 1e6, 3),
        "seconds": round(part.seconds, 2),
        "per_second": round(part.count / seconds, 2),
        "mpix_per_second": round(part.pixels / 1e6 / seconds, 2),
    }


def _peak_memory() -> float | None:
    """Return the peak memory of this process or a worker, MB; None if the system does not report it."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(most / (1e6 if sys.platform == "darwin" else 1e3), 1)  # in bytes there, elsewhere in KB
