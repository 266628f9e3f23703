"""How long a piece of work took, and how far the process's memory rose above what it held before."""

import time
from pathlib import Path
from types import TracebackType
from typing import Self

STATUS, PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Timed:
    """Measures what happens within it. A context manager.

    ``rise`` is the peak of the resident set over what it was before, MiB; None where the kernel doesn't tell.
    """

    seconds: float
    cpu: float
    """Seconds of processors, of all threads: what others do on the machine disturbs them less."""
    rise: float | None = None

    def __enter__(self) -> Self:
        """Begin."""
        self._before = _resident("VmRSS", reset=True)
        self._start, self._used = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self.seconds, self.cpu = time.perf_counter() - self._start, time.process_time() - self._used
        peak = _resident("VmHWM", reset=False)
        if peak is not None and self._before is not None:
            self.rise = peak - self._before

    def made(self, amount: float) -> dict[str, float | None]:
        """Return what was measured, of work that made ``amount``."""
        return {"seconds": self.seconds, "cpu": self.cpu, "amount": amount, "rise": self.rise}


def _resident(what: str, *, reset: bool) -> float | None:
    try:
        if reset:
            PEAK.write_text("5")  # the peak begins anew
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith(f"{what}:")), None)
