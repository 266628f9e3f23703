"""``quadrat`` and ``python -m quadrat``: the command line, with the code of the workspace that it runs in."""

import ctypes
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_SWITCHED = "QUADRAT_SWITCHED"
"""Names, in the environment of a process, the workspace whose code it was started with."""

MALLOC = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_ARENA_MAX": -8}
"""glibc's names of settings of its heaps, and their numbers in malloc.h."""


def settle() -> None:
    """Set what libraries read from the environment when they are loaded, where the user has not."""
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # threads that spin long starve whatever shares their cores
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # NumPy's begin to spin when it is loaded
    os.environ.setdefault("GDAL_CACHEMAX", "32")  # MB of blocks; else a share of all memory (see scenes/files.py)
    _settle_heaps(
        {
            "MALLOC_ARENA_MAX": max(2, (os.cpu_count() or 1) // 4),  # else eight a core: what threads free lies about
            "MALLOC_MMAP_THRESHOLD_": 4 << 20,  # else it grows to 32 MB, and strips leave holes in the heaps
            "MALLOC_TRIM_THRESHOLD_": 32 << 20,
        }
    )


def _settle_heaps(settings: Mapping[str, int]) -> None:
    """Set how glibc keeps what is freed, for this process and those that it starts, where the user has not."""
    if os.environ.keys().isdisjoint({*settings, "GLIBC_TUNABLES"}):
        os.environ.update({name: str(value) for name, value in settings.items()})
        with suppress(OSError, AttributeError, TypeError):  # another system, another allocator
            for name, value in settings.items():
                ctypes.CDLL(None).mallopt(MALLOC[name], value)


def main() -> None:
    """Run the command line; as a DVC stage, only with the code that DVC has hashed.

    In a temporary or queued experiment an editable install is the main checkout's code. Then the process starts
    anew with the workspace's, which lies in the working folder.
    """
    loaded = Path(__file__).resolve().parent
    workspace = Path.cwd().resolve() / "src" / "quadrat"
    if "DVC_STAGE" in os.environ and workspace.is_dir() and workspace != loaded:
        if os.environ.get(_SWITCHED) == str(workspace):
            sys.exit(
                f"quadrat: the wrong code runs\n  expected: {workspace}\n  got: {loaded}\n  mend: set PYTHONPATH=src"
            )
        path = [str(workspace.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), _SWITCHED: str(workspace)}
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, "-m", "quadrat", *sys.argv[1:]], environment)  # noqa: S606 no shell is meant
    settle()
    from quadrat.cli import main as run

    run()


if __name__ == "__main__":
    main()
