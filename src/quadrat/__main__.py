"""``quadrat`` and ``python -m quadrat``: the command line, with the code of the workspace that it runs in."""

import os
import sys
from pathlib import Path

from quadrat.runtime import allocator

_SWITCHED = "QUADRAT_SWITCHED"
"""Names, in the environment of a process, the workspace whose code it was started with."""


def settle() -> None:
    """Set what libraries read from the environment when they are loaded, where the user has not."""
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # threads that spin long starve whatever shares their cores
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # NumPy's begin to spin when it is loaded
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch's large pieces come in pages of 2 MB
    os.environ.setdefault("GDAL_CACHEMAX", "32")  # MB of blocks; else a share of all memory (see scenes/files.py)
    allocator.begin()


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
