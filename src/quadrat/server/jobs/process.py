"""``python -m quadrat.server.jobs.process PARENT …``: a command of quadrat that ends with the server."""

import os
import runpy
import sys
import threading
import time

POLL = 0.5
"""Seconds between two checks that the server is alive."""

MILDER = 5
"""Tiles of maps come before jobs."""


def main() -> None:
    """Run the command of the arguments."""
    parent = int(sys.argv.pop(1))
    os.nice(MILDER)
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    runpy.run_module("quadrat", run_name="__main__", alter_sys=True)


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)
    os._exit(1)


if __name__ == "__main__":
    main()
