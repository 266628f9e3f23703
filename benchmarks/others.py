"""What others do on the machine while something is measured: a busy one makes figures worse, and ratios uncertain."""

import os
import resource
import time
from pathlib import Path

STAT = Path("/proc/stat")


class Others:
    """Counts from when it is made."""

    def __init__(self) -> None:
        """Begin."""
        self._since, self._all, self._mine = time.monotonic(), _all(), _mine()

    def busy(self) -> float:
        """Return how many cores other processes than this one and its children have used since, on average."""
        used = (_all() - self._all) - (_mine() - self._mine)
        return max(0.0, used / max(1e-9, time.monotonic() - self._since))


def _all() -> float:
    """Return the seconds that all processors have worked; those of this process alone where that isn't told."""
    if not STAT.exists():
        return _mine()
    values = [int(value) for value in STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1:]]
    return (sum(values[:8]) - values[3] - values[4]) / os.sysconf("SC_CLK_TCK")


def _mine() -> float:
    some = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in some)
