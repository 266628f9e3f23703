"""The source code that decides what a module makes: its own, and that of what it imports of this package."""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2]

FROM = re.compile(
    rf"from[ \t]+({PACKAGE.name}(?:\.\w+)*)[ \t]+import[ \t]*(\((?:#.*|[^)#])*\)|(?:\\\n|[^\n;])*)",
)
"""An import from a module of this package: the module, and the names."""

IMPORT = re.compile(rf"import[ \t]+((?:\\\n|[^\n;])*\b{PACKAGE.name}\.(?:\\\n|[^\n;])*)")
"""An import of modules, of which one at least is of this package: their names."""

FREE = ("runtime", "cluster", "serving", "team", "cli", "errors")
"""Folders and modules that decide no result: no stage lists them in ``dvc.yaml``, and no hash knows them."""

TASKS, SHARED = "tasks", "common"
"""The folder that holds one for each kind of task, and the one there that is of them all."""

WORD = re.compile(r"[\w.]+")


@cache
def code_hash(module: str, *parts: str) -> str:
    """Return what stands for the code of ``module``, e.g. ``quadrat.pipeline.chip``: another for any change of it.

    ``parts`` are modules that it imports by name, e.g. ``quadrat.tasks.semantic_segmentation.targets``. No code counts
    of kinds of task that none of them is of. Of a kind of model that isn't used, a change counts too.
    """
    digest = hashlib.sha256()
    for file in closure(module, *parts):
        digest.update(f"{file.relative_to(PACKAGE).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def closure(module: str, *parts: str) -> list[Path]:
    """Return the files of these modules and of all that they import of this package, wherever in the code.

    None is FREE, or of a kind of task of which there is none of ``parts``.
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
    """Return the kind of task that a module is of, or SHARED; None of one that is of no task."""
    within = module.split(".")[1:3]
    return within[1] if len(within) == 2 and within[0] == TASKS else None


def _imported(source: str) -> Iterator[str]:
    """Give the modules that a source imports, with the packages that hold them; names that are none may be among them.

    Python's own parser finds the same in ten times as long, which a stage that finds nothing to do would wait for.
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
