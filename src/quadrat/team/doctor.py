"""quadrat doctor: checks this machine and this clone, with hints."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from rich.markup import escape
from rich.table import Table

from quadrat.errors import RemoteError
from quadrat.runtime.progress import Terminal
from quadrat.team.damage import LOCK, RESTORE, half_written, lock_damage
from quadrat.team.made_of import HINT as OTHERWISE
from quadrat.team.made_of import otherwise_made

ROOM = 5e9
"""Bytes of free disk below which a run may fail."""

SHOWN = ("torch", "pytorch-lightning", "rasterio", "dvc", "dvc-s3")
"""Packages whose versions are always shown."""


SIGNS = {"good": ("green", "✓"), "note": ("yellow", "!"), "broken": ("bold red", "✗")}


@dataclass(frozen=True)
class Finding:
    """A check: its subject, state and result, and a hint if something is to do."""

    about: str
    state: Literal["good", "note", "broken"]
    found: str
    hint: str | None = None


def examine(folder: Path) -> Iterator[Finding]:
    """Check versions, device, disk, git, DVC and the remote of the project in ``folder``, one by one."""
    checks: tuple[Callable[[Path], Finding], ...] = (_python, _packages, _device, _disk, _git, _dvc, _remote)
    for check in checks:
        yield check(folder)


def show(findings: Iterable[Finding]) -> bool:
    """Print a table of findings, and the hints below it; return whether nothing is broken."""
    console = Terminal()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    hints = []
    whole = True
    for finding in findings:
        color, sign = SIGNS[finding.state]
        table.add_row(f"[{color}]{sign}[/]", finding.about, escape(finding.found))
        if finding.hint:
            hints.append(f"[{color}]{finding.about}[/]: {escape(finding.hint)}")
        whole = whole and finding.state != "broken"
    console.print(table, highlight=False)
    for hint in hints:
        console.print(hint, highlight=False, soft_wrap=True)
    return whole


def _python(_: Path) -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if not (3, 11) <= sys.version_info < (3, 14):
        return Finding("python", "broken", found, "use Python 3.11, 3.12 or 3.13")
    return Finding("python", "good", found)


def _packages(folder: Path) -> Finding:
    """Compare installed packages with constraints.txt, if it exists."""
    import rasterio

    found = ", ".join([f"{name} {_version(name)}" for name in SHOWN] + [f"GDAL {rasterio.__gdal_version__}"])
    file = folder / "constraints.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    pins = dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))
    other = [
        f"{name} {_version(name)} (pinned: {pin})" for name, pin in pins.items() if _version(name) not in {None, pin}
    ]
    if other:
        hint = "run make setup to get the tested versions; with others, results may differ"
        return Finding("packages", "note", f"{found}; not as in constraints.txt: {', '.join(other)}", hint)
    return Finding("packages", "good", found)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _device(_: Path) -> Finding:
    import torch

    from quadrat.models.common.devices import device
    from quadrat.runtime.parallel import cores

    processors = f"{cores()} cores"
    if device().type == "cuda":
        card = torch.cuda.get_device_properties(0)
        return Finding("device", "good", f"{card.name}, {card.total_memory / 1e9:.0f} GB; {processors}")
    if torch.version.cuda is not None and shutil.which("nvidia-smi"):
        hint = "compare the driver's CUDA (nvidia-smi) with PyTorch's, and see CUDA_VISIBLE_DEVICES"
        return Finding("device", "note", f"PyTorch sees no GPU, though there is a driver; {processors}", hint)
    return Finding("device", "good", f"{device().type}; {processors}")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.0f} GB free"
    if free < ROOM:
        return Finding("disk", "note", found, "make room: dvc gc --workspace, or move the cache with dvc cache dir")
    return Finding("disk", "good", found)


def _git(folder: Path) -> Finding:
    status = _run(folder, "git", "status", "--porcelain=v2", "--branch")
    if status.returncode:
        return Finding("git", "broken", status.stderr.strip(), "git init and commit, or go to the clone")
    lines = status.stdout.splitlines()
    about = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
    if about["branch.oid"] == "(initial)":
        return Finding("git", "broken", "no commit yet", "git add and commit: experiments start from a commit")
    found = f"{about['branch.oid'][:7]} on {about['branch.head']}"
    if unmerged := [line for line in lines if line.startswith("u ")]:
        return Finding("git", "broken", f"{found}, {len(unmerged)} files in conflict", "git mergetool, then commit")
    changed = sum(not line.startswith("# ") for line in lines)
    if changed:
        return Finding("git", "note", f"{found}, {changed} files differ", "commit, so that others get what you have")
    return Finding("git", "good", f"{found}, all committed")


def _dvc(folder: Path) -> Finding:
    damaged = lock_damage(folder)
    if damaged is not None:
        return Finding("dvc", "broken", f"{damaged.problem}: {damaged.got}", damaged.hint)
    status = _run(folder, sys.executable, "-m", "dvc", "status", "--json")
    if status.returncode:
        message, hint = _message(status.stderr), "correct what it names; dvc status prints the same"
        if "RWLock-file" in message:
            hint = "DVC was killed while it wrote this file: if no other dvc runs, delete .dvc/tmp/rwlock"
        elif LOCK in message:
            hint = RESTORE
        return Finding("dvc", "broken", message, hint)
    left = list(half_written(folder))
    if left:
        found = f"{len(left)} half-written: {', '.join(str(file.relative_to(folder)) for file in left[:3])}"
        hint = "DVC was killed while it wrote them: if no other dvc runs, delete them, and repeat the dvc pull"
        return Finding("dvc", "note", found, hint)
    stale = json.loads(status.stdout)
    if stale:
        return Finding("dvc", "note", f"out of date: {', '.join(stale)}", "dvc pull for what others have, or dvc repro")
    otherwise = otherwise_made(folder)
    if otherwise:
        found = "DVC says that all is up to date, but results were made of other inputs: "
        found += ", ".join(f"{one.about} of {one.stage}" for one in otherwise)
        return Finding("dvc", "broken", found, OTHERWISE)
    return Finding("dvc", "good", "data and stages are up to date")


def _remote(folder: Path) -> Finding:
    from quadrat.team.remote import default_remote
    from quadrat.team.remote_probe import probe

    try:
        remote = default_remote(folder)
        if remote is None:
            return Finding("remote", "note", "none is set", "quadrat remote s3://bucket/prefix")
        found = probe(remote)
        if not remote.verified:
            found, hint = f"{found}; fetched files are not checked", f"dvc remote modify {remote.name} verify true"
            return Finding(
                "remote", "note", found, f"{hint}, then commit .dvc/config: otherwise damaged objects go unnoticed"
            )
        return Finding("remote", "good", found)
    except RemoteError as error:
        return Finding("remote", "broken", f"{error.problem}: {error.got}", error.hint)


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 our own words only


def _message(text: str) -> str:
    """Return DVC's error message, or its whole output."""
    errors = [line.removeprefix("ERROR: ") for line in text.splitlines() if line.startswith("ERROR: ")]
    return errors[0] if errors else text.strip()
