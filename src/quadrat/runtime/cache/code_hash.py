"""Hashes the source code that decides a module's results: its own, and that of its imports from this package."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2]

FROM = re.compile(
    rf"from[ \t]+({PACKAGE.name}(?:\.\w+)*)[ \t]+import[ \t]*(\((?:#.*|[^)#])*\)|(?:\\\n|[^\n;])*)",
)
"""An import from a module of this package: the module, and the names."""

IMPORT = re.compile(rf"import[ \t]+((?:\\\n|[^\n;])*\b{PACKAGE.name}\.(?:\\\n|[^\n;])*)")
"""An import of modules, at least one of this package: their names."""

FREE = ("runtime", "plugins", "cluster", "serving", "server", "qgis", "team", "cli", "errors")
"""Folders and modules that decide no result; they are in no stage's ``deps`` in ``dvc.yaml``, and in no hash."""

TASKS, SHARED = "tasks", "common"
"""The folder with a subfolder for each kind of task, and the subfolder that all kinds share."""

WORD = re.compile(r"[\w.]+")


@cache
def code_hash(module: str, *parts: str) -> str:
    """Return a hash of the code of ``module``, e.g. ``quadrat.pipeline.chip``.

    ``parts`` are modules that it imports by name, e.g. ``quadrat.tasks.semantic_segmentation.targets``. Kinds of task
    without a module in ``parts`` are left out; kinds of model that are not used are included.
    """
    return hash_of(closure(module, *parts))


def hash_of(files: Iterable[Path]) -> str:
    """Return a hash of files of this package: their paths in it, and their contents."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(PACKAGE).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def closure(module: str, *parts: str) -> list[Path]:
    """Return the files of these modules and of all their imports from this package, also inside functions.

    Leaves out FREE, and kinds of task without a module in ``parts``.
    """
    waiting, seen = [module, *parts], {module, *parts}
    kinds = {SHARED, *map(_kind, parts)}
    found = set[Path]()
    while waiting:
        name = waiting.pop()
        file = _file(name) if _kind(name) in {None, *kinds} else None
        if file is not None and file not in found:
            found.add(file)
            names = {*_imported(file.read_text(encoding="utf-8"))} - seen
            seen |= names
            waiting.extend(names)
    return sorted(found)


def _kind(module: str) -> str | None:
    """Return the kind of task of a module, or SHARED; None if it is not part of a task."""
    within = module.split(".")[1:3]
    return within[1] if len(within) == 2 and within[0] == TASKS else None


def _imported(source: str) -> Iterator[str]:
    """Yield the modules that a source imports, and their packages; some names may not be modules.

    Python's parser finds the same, but takes ten times as long, which would delay stages with nothing to do.
    """
    whole = [f"{module}.{name}" for module, names in FROM.findall(source) for name in WORD.findall(names)]
    whole += [name for names in IMPORT.findall(source) for name in WORD.findall(names)]
    for parts in (name.split(".") for name in whole):
        yield from (".".join(parts[: n + 1]) for n in range(1, len(parts)))


def _file(module: str) -> Path | None:
    package, *rest = module.split(".")
    if package != PACKAGE.name or (rest and rest[0] in FREE):
        return None
    place = PACKAGE.joinpath(*rest)
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)
