"""Finds plugins: in the project's folder, or among the entry points that installed packages declare.

No other code is imported, whatever a name says: a name may come from a bundle of a stranger.
"""

import difflib
import hashlib
import importlib
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from quadrat.errors import MissingPluginError, PluginError
from quadrat.plugins.section import FOLDER, Plugin

GROUP = "quadrat.plugins"
"""The group of entry points in which a package declares its plugins."""

PROJECT = "dvc.yaml"
"""The file that tells that a folder is a project: only there, the folder of plugins is code."""

CALLED = "QUADRAT_TRACEBACK=1 shows where"


@dataclass(frozen=True)
class Found:
    """A class or function, and its version: that of its package, or a hash of the project's folder of plugins."""

    target: Callable[..., Any]
    version: str


def find(plugin: Plugin, folder: Path = Path(FOLDER)) -> Found:
    """Return what ``plugin`` names; ``folder`` is that of the project's own.

    Raises MissingPluginError where there is no such thing, and PluginError where its module can't be imported.
    """
    place, _, name = plugin.name.partition(":")
    if place.partition(".")[0] == FOLDER:
        return _in_project(plugin, place, name, folder)
    return _in_package(plugin, place, name)


def versions(plugins: Iterable[Plugin], folder: Path) -> dict[str, str]:
    """Return the version of each plugin by its name."""
    return {plugin.name: find(plugin, folder).version for plugin in plugins}


def folder_version(folder: Path) -> str:
    """Return a hash of all files in a folder of plugins."""
    digest = hashlib.sha256()
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    for name, file in sorted((path.relative_to(folder).as_posix(), path) for path in files):
        digest.update(f"{name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return f"sha256:{digest.hexdigest()[:16]}"


def failed(plugin: Plugin, problem: str, error: Exception) -> PluginError:
    """Return the error of a plugin that raised ``error``."""
    return PluginError(
        f"{plugin.key}: the {plugin.role} {plugin.name} {problem}",
        file=_line(error),
        got=f"{type(error).__name__}: {error}"[:1000],
        hint=CALLED,
    )


def _line(error: Exception) -> str | None:
    """Return the last line of a plugin of the project that an error has passed; None if it has passed none."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    return next(
        (f"{one.filename}:{one.lineno}" for one in reversed(frames) if FOLDER in Path(one.filename).parts), None
    )


def _in_project(plugin: Plugin, place: str, name: str, folder: Path) -> Found:
    file = folder.joinpath(*place.split(".")[1:]).with_suffix(".py")
    if not (folder.parent / PROJECT).is_file():
        raise _missing(plugin, f"a project with {file}", f"no {PROJECT} in this folder", None)
    if not file.is_file():
        there = sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)
        modules = [".".join((FOLDER, *path.relative_to(folder).with_suffix("").parts)) for path in there]
        raise _missing(plugin, file, ", ".join(map(str, there)) or f"no module in {folder}", _near(place, modules))
    version = folder_version(folder)
    try:
        module = _imported(place, folder, version)
    except Exception as error:  # whatever the user's code raises
        raise failed(plugin, f"can't be imported from {file}", error) from error
    known = {key: value for key, value in vars(module).items() if _is_own(key, value, place)}
    if name not in known:
        hint = _near(name, known) or f"define it in {file}: what it imports from elsewhere is no plugin"
        raise _missing(plugin, f"a class or function {name} in {file}", ", ".join(known) or "none", hint)
    return Found(known[name], version)


def _is_own(name: str, value: object, module: str) -> bool:
    """Return whether a value of a module is a public class or function that is defined there."""
    return callable(value) and not name.startswith("_") and getattr(value, "__module__", None) == module


def _imported(place: str, folder: Path, version: str) -> ModuleType:
    """Return a module of the folder, anew if one of its files has changed since it was imported.

    The folder stands for the package by itself: Python's own path might lead to another of its name.
    """
    package, path = sys.modules.get(FOLDER), [str(folder.resolve())]
    if (getattr(package, "__version__", None), getattr(package, "__path__", None)) != (version, path):
        for name in [name for name in sys.modules if name == FOLDER or name.startswith(f"{FOLDER}.")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        package = ModuleType(FOLDER)
        package.__version__, package.__path__ = version, path  # type: ignore[attr-defined]  # of a package
        sys.modules[FOLDER] = package
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # bytecode goes by whole seconds, versions don't
    try:
        return importlib.import_module(place)
    finally:
        sys.dont_write_bytecode = before


def _in_package(plugin: Plugin, place: str, name: str) -> Found:
    declared = {f"{_canonical(one.dist.name)}:{one.name}": one for one in entry_points(group=GROUP) if one.dist}
    asked = f"{_canonical(place)}:{name}"
    if asked not in declared:
        expected = f"an installed package {place} with the entry point {name} of the group {GROUP}"
        raise _missing(plugin, expected, ", ".join(declared) or "none is declared", _near(asked, declared))
    entry = declared[asked]
    try:
        target = entry.load()
    except Exception as error:  # whatever the package's code raises
        raise failed(plugin, f"can't be imported from {entry.value}", error) from error
    if not callable(target):
        raise PluginError(
            f"{plugin.key}: {plugin.name} is no {plugin.role}", expected="a class or function", got=entry.value
        )
    return Found(target, _version(entry))


def _version(entry: EntryPoint) -> str:
    assert entry.dist is not None
    return entry.dist.version


def _canonical(package: str) -> str:
    """Return the name of a package as the index compares it."""
    return re.sub(r"[-_.]+", "-", package).lower()


def _missing(plugin: Plugin, expected: object, got: object, hint: str | None) -> MissingPluginError:
    problem = f"{plugin.key}.name: there is no {plugin.role} {plugin.name} here"
    error = MissingPluginError(problem, expected=str(expected), got=str(got), hint=hint)
    error.name = plugin.name
    return error


def _near(name: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else None
