"""What a worker of a Dask cluster runs, and what it is asked before the first item."""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quadrat.cluster.identity import Identity
from quadrat.errors import ClusterError
from quadrat.runtime.parallel import Outcome, attempt_elsewhere


@dataclass(frozen=True)
class Task:
    """Runs ``function`` in ``folder``, if the worker sees the file ``marker`` there and has the same code."""

    function: Callable[[Any], Any]
    folder: str
    marker: str
    code: Identity

    def __call__(self, item: Any) -> Outcome[Any]:
        """Return the outcome of an item; a ClusterError is one of the worker."""
        from distributed import get_worker

        try:
            self.check(get_worker())
        except ClusterError as error:
            return Outcome(None, error)
        return attempt_elsewhere(self.function, item)

    def check(self, dask_worker: Any) -> None:
        """Move to the folder; raise ClusterError if it isn't the same one, or the code isn't the same."""
        here = f"{dask_worker.address} on {platform.node()}"
        self.code.check(here)
        try:
            os.chdir(self.folder)
            seen = Path(self.marker).exists()
        except OSError:
            seen = False
        if not seen:
            raise ClusterError(
                "a worker doesn't see the project's folder",
                expected=self.folder,
                got=here,
                hint="workers of Dask need a file system in common; machines without one share scenes by QUADRAT_CACHE "
                "and --part",
            )
