"""What all machines of a run must have in common: quadrat's code, versions of libraries, and the surroundings."""

import platform
from dataclasses import dataclass
from functools import cache

from quadrat.errors import ClusterError
from quadrat.runtime.cache.code_hash import PACKAGE, hash_of
from quadrat.runtime.cache.surroundings import surroundings
from quadrat.runtime.provenance.origin import installed


@dataclass(frozen=True)
class Identity:
    """The hash of the package's code, and versions and surroundings by name."""

    code: str
    versions: tuple[tuple[str, str], ...]

    def check(self, where: str) -> None:
        """Raise ClusterError, naming the machine ``where`` it is, if this process has another one."""
        mine = identity()
        if mine == self:
            return
        wanted, here = dict(self.versions), dict(mine.versions)
        names = sorted(name for name in wanted.keys() | here.keys() if wanted.get(name) != here.get(name))
        raise ClusterError(
            "a worker has other code or libraries, or other settings, so its results could be others",
            expected=", ".join(f"{name} {wanted.get(name)}" for name in names) or f"code {self.code[:12]}",
            got=f"{where}: " + (", ".join(f"{name} {here.get(name)}" for name in names) or f"code {mine.code[:12]}"),
            hint="bring all machines to one commit and environment, and start the workers anew",
        )


@cache
def identity() -> Identity:
    """Return that of this process, as its files were when it was first asked."""
    around = {name: str(value) for name, value in surroundings().items()}
    versions = {"python": platform.python_version(), **installed(), **around}
    return Identity(hash_of(sorted(PACKAGE.rglob("*.py"))), tuple(sorted(versions.items())))
