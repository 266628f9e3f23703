"""What all machines of a run must have in common: quadrat's code, and the versions of libraries."""

import hashlib
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from quadrat.errors import ClusterError
from quadrat.runtime.provenance.origin import installed

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Identity:
    """The hash of the package's code, and versions by name."""

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
            "a worker has other code or libraries, so its results could be others",
            expected=", ".join(f"{name} {wanted.get(name)}" for name in names) or f"code {self.code[:12]}",
            got=f"{where}: " + (", ".join(f"{name} {here.get(name)}" for name in names) or f"code {mine.code[:12]}"),
            hint="bring all machines to one commit and environment, and start the workers anew",
        )


@cache
def identity() -> Identity:
    """Return that of this process, as its files were when it was first asked."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(f"{file.relative_to(PACKAGE).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    versions = {"python": platform.python_version(), **installed()}
    return Identity(digest.hexdigest(), tuple(sorted(versions.items())))
