"""Checks that ``dvc.lock`` is up to date, without data and network.

Files in git (code, parameters, catalog, areas, metrics, plots) are compared as they are here. For files of the DVC
remote, the checksum from a stage or a ``.dvc`` file is compared with the one that the next stage has used.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.text import Text

from quadrat.errors import LockError
from quadrat.runtime.progress import Terminal
from quadrat.team.damage import LOCK, RESTORE, lock_damage

ABSENT = "none"
"""Shown for a missing value."""

SHOWN = 8
"""Digits of a checksum that are shown."""

HINT = "run dvc repro, and commit dvc.lock and metrics; or revert the changes"


@dataclass(frozen=True)
class Difference:
    """An input or output of a stage that differs from ``dvc.lock``."""

    stage: str
    about: str
    """A parameter (``file: key``), a file or folder, or another part of the stage."""
    expected: str
    """The value in ``dvc.lock``."""
    got: str


def differences(folder: Path) -> list[Difference]:
    """Return the differences for which ``dvc repro`` would run stages of the project around ``folder``, in order.

    Each difference is listed at the first stage; later stages may run, too. Data on this machine is not read. Raises
    LockError if DVC can't read the pipeline.
    """
    with opened(folder) as repo:
        stages = [stage for stage in repo.index.stages if hasattr(stage, "name") and not stage.frozen]
        made = {out.fs_path: out for stage in repo.index.stages for out in stage.outs}
        return [difference for stage in stages for difference in _stage(stage, made)]


def show(found: list[Difference], further: Iterable[str] = ()) -> None:
    """Print the differences by stage, a hint, and ``further`` lines."""
    out = Terminal()
    for line in (*lines(found), *further):
        out.print(Text(line), soft_wrap=True)


def lines(found: list[Difference]) -> Iterator[str]:
    """Yield the differences by stage as lines, and a hint."""
    for stage, some in groupby(found, lambda one: one.stage):
        yield f"stage '{stage}' is not as dvc.lock says:"
        for one in some:
            yield f"  {one.about}: expected {one.expected}, got {one.got}"
    yield f"hint: {HINT}" if found else "dvc.lock is up to date"


@contextmanager
def opened(folder: Path, revision: str | None = None) -> Iterator[Any]:
    """Yield the DVC repository around ``folder``, as it is or at a git revision; raise LockError for errors of DVC."""
    damaged = None if revision else lock_damage(folder)
    if damaged is not None:
        raise damaged
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        with Repo(str(folder), rev=revision) as repo:
            yield repo
    except (DvcException, SCMError) as error:
        raise LockError(
            "DVC can't read the pipeline",
            file="dvc.yaml, dvc.lock",
            got=error,
            hint=RESTORE if LOCK in str(error) and revision is None else "correct what it names; see dvc status",
        ) from error


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys of parameters and their values; items of lists have numbers."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    parts = [(f"{key}.{name}" if key else str(name), one) for name, one in inner]
    if key and not parts:
        yield key, value
    for name, one in parts:
        yield from leaves(one, name)


def as_text(value: Any) -> str:
    """Return a parameter's value as text."""
    return json.dumps(value, default=str, ensure_ascii=False)


def _stage(stage: Any, made: Mapping[str, Any]) -> Iterator[Difference]:
    from dvc.dependency import ParamsDependency

    file = Path(stage.path).relative_to(stage.repo.root_dir)
    name = stage.name if file == Path("dvc.yaml") else f"{file.as_posix()}:{stage.name}"
    if not any(out.hash_info for out in stage.outs) and not any(dep.hash_info for dep in stage.deps):
        yield Difference(name, "dvc.lock", "the stage", ABSENT)
        return
    if stage.cmd_changed:
        yield Difference(name, "cmd", "the command in dvc.lock", str(stage.cmd))
    for dep in stage.deps:
        if isinstance(dep, ParamsDependency):
            yield from _parameters(name, dep)
        elif dep.is_in_repo:
            yield from _file(name, dep, _input(dep, made))
    for out in stage.outs:
        yield from _file(name, out, out.hash_info if out.use_cache else _here(out))


def _parameters(stage: str, dep: Any) -> Iterator[Difference]:
    before, now = dep.hash_info.value or {}, dep.read_params()
    for key in dep.params or {**before, **now}:
        if key in before and key in now and before[key] == now[key]:
            continue
        old, new = (dict(leaves(some[key], key)) if key in some else {} for some in (before, now))
        for leaf in dict.fromkeys([*old, *new]):
            one, other = (as_text(some[leaf]) if leaf in some else ABSENT for some in (old, new))
            if one != other:
                yield Difference(stage, f"{dep.def_path}: {leaf}", one, other)


def _input(dep: Any, made: Mapping[str, Any]) -> Any:
    """Return the current checksum of a dependency: from the stage that made it, or of the file."""
    path = dep.fs_path
    if path in made:
        return made[path].hash_info
    if any(dep.fs.isin(path, out) or dep.fs.isin(out, path) for out in made):
        return dep.hash_info  # inside or around an output of DVC: git does not know it
    return _here(dep)


def _here(file: Any) -> Any:
    """Return the checksum of a file or folder here; None if it is missing."""
    return file.get_hash() if file.exists else None


def _file(stage: str, file: Any, now: Any) -> Iterator[Difference]:
    if not now or now != file.hash_info:
        yield Difference(stage, file.def_path, _checksum(file.hash_info), _checksum(now))


def _checksum(found: Any) -> str:
    return f"md5 {found.value[:SHOWN]}" if found else ABSENT
