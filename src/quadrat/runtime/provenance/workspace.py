"""The state of a project: its commit in git and DVC's hashes of stage inputs. Both may be missing."""

import sqlite3
import subprocess
from collections.abc import Iterable
from pathlib import Path

from quadrat.errors import DiskError, ParamsError
from quadrat.runtime.formats.yaml import read
from quadrat.runtime.provenance.origin import Commit, Origin, code_of, digest, unknown

MADE_OF = ("src", "plugins", "data", "params.yaml", "dvc.yaml", "constraints.txt", "pyproject.toml")
"""Paths in the project's folder that change results."""

DATA = ("scenes", "raw", "aoi")
"""Parameters that name further such paths."""

NOT_OF = ":(exclude,glob)**/.gitignore"
"""Leaves out files that DVC writes beside them."""

MOST = 20
"""Most changed files that are listed."""

CODE = "src/"
"""The folder of modules among a stage's dependencies."""


def origin_of(stage: str, params: Path, sections: Iterable[str]) -> Origin:
    """Return the origin of the outputs of ``stage`` in the working folder, with ``sections`` of the file ``params``."""
    content = read(params, ParamsError)
    hashes = _inputs(stage)
    modules = {path: found for path, found in (hashes or {}).items() if path.startswith(CODE)}
    return unknown(stage).model_copy(
        update={
            "git": _git({*MADE_OF, *(content[name] for name in DATA if name in content)}),
            "inputs": None if hashes is None else {path: hashes[path] for path in sorted({*hashes} - {*modules})},
            "code": code_of(modules) if modules else None,
            "parameters": {name: digest(content[name]) for name in sorted(sections) if name in content},
        }
    )


def git_output(*arguments: str, stdin: str = "") -> bytes:
    """Return the output of git in the working folder; empty if git is missing or fails."""
    try:
        done = subprocess.run(["git", *arguments], input=stdin.encode(), capture_output=True, check=True)  # noqa: S603, S607 the user's own Git
    except (OSError, subprocess.CalledProcessError):
        return b""
    return done.stdout


def _git(made_of: Iterable[str]) -> Commit | None:
    """Return the last commit that changed ``made_of``, and the files that differ from it."""
    head = git_output("rev-parse", "--verify", "--quiet", "HEAD")
    if not head:
        return None
    paths = ["--", *sorted(path for path in made_of if _within(path)), NOT_OF]
    last = git_output("log", "-1", "--format=%H", *paths) or head
    differing = git_output("diff", "--name-only", "--relative", "-z", "HEAD", *paths)
    untracked = git_output("ls-files", "--others", "--exclude-standard", "-z", *paths)
    changed = sorted({name.decode(errors="replace") for name in (differing + untracked).split(b"\0") if name})
    if len(changed) > MOST:
        changed = [*changed[:MOST], f"and {len(changed) - MOST} more"]
    return Commit(commit=last.decode().strip(), dirty=bool(changed), changed=tuple(changed))


def _within(path: str) -> bool:
    return Path(path).resolve().is_relative_to(Path.cwd().resolve())


def _inputs(stage: str) -> dict[str, str | None] | None:
    """Return DVC's hashes of the stage's dependencies in the working folder; None if DVC does not know the stage.

    DVC remembers hashes of unchanged files. Raises DiskError if it has no room for that.
    """
    if not Path(".dvc").is_dir() or not Path("dvc.yaml").is_file():
        return None
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        with Repo(str(Path.cwd())) as repo:
            (entry,) = repo.stage.collect(stage)
            return {
                dep.def_path: dep.get_hash().value if dep.exists else None
                for dep in entry.deps
                if dep.is_in_repo and not hasattr(dep, "params")
            }
    except (DvcException, SCMError, OSError):
        return None
    except sqlite3.OperationalError as error:
        raise DiskError(
            "DVC can't write its database of file hashes",
            file=Path(".dvc/tmp"),
            got=error,
            hint="make room on this disk and on that of DVC's site cache, /var/tmp unless you have moved it",
        ) from error
