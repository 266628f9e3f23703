"""``quadrat`` and ``python -m quadrat``: the command line, with the code of the current workspace."""

import os
import sys
from pathlib import Path

from quadrat.runtime import memory

_SWITCHED = "QUADRAT_SWITCHED"
"""Environment variable that names the workspace whose code the process was restarted with."""


def settle() -> None:
    """Set environment variables that libraries read when they are loaded, unless the user has set them."""
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # spinning threads slow down others on the same core
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # NumPy's threads spin as soon as it is loaded
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch's large arrays use pages of 2 MB
    os.environ.setdefault("GDAL_CACHEMAX", "32")  # MB of blocks; else a share of all memory: see raster_files.py
    memory.begin()


def main() -> None:
    """Run the command line; as a DVC stage, only with the code that DVC has hashed.

    In a temporary or queued experiment, an editable install is the code of the main checkout. Then the process restarts
    with the code of the working folder.
    """
    loaded = Path(__file__).resolve().parent
    workspace = Path.cwd().resolve() / "src" / "quadrat"
    if "DVC_STAGE" in os.environ and workspace.is_dir() and workspace != loaded:
        if os.environ.get(_SWITCHED) == str(workspace):
            sys.exit(
                f"quadrat: the wrong code runs\n  expected: {workspace}\n  got: {loaded}\n  hint: set PYTHONPATH=src"
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
