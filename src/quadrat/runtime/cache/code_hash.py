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

WORD = re.compile(r"[\w.]+")


@cache
def code_hash(module: str) -> str:
    """Return what stands for the code of ``module``, e.g. ``quadrat.pipeline.chip``: another for any change of it.

    It knows more than need be: of a kind of task or model that isn't used, a change counts too.
    """
    digest = hashlib.sha256()
    for file in closure(module):
        digest.update(f"{file.relative_to(PACKAGE).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def closure(module: str) -> list[Path]:
    """Return the files of ``module`` and of all that it imports of this package, wherever in the code; none is FREE."""
    waiting, seen = [module], {module}
    found = set[Path]()
    while waiting:
        file = _file(waiting.pop())
        if file is not None and file not in found:
            found.add(file)
            names = {*_imported(file.read_text(encoding="utf-8"))} - seen
            seen |= names
            waiting.extend(names)
    return sorted(found)


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
