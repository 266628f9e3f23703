"""The source code that a module runs: its own, and that of all that it imports of this package."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent


@cache
def code_hash(module: str) -> str:
    """Return what stands for the code of ``module``, e.g. ``quadrat.stages.chip``: another for any change of it.

    It knows more than need be: of a kind of task or model that isn't used, a change counts too.
    """
    digest = hashlib.sha256()
    for file in closure(module):
        digest.update(f"{file.relative_to(PACKAGE).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def closure(module: str) -> list[Path]:
    """Return the files of ``module`` and of all modules of this package that it imports, wherever in the code."""
    waiting, seen = [file for file in (_file(module),) if file], set[Path]()
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting.extend(_imported(file))
    return sorted(seen)


def _imported(file: Path) -> Iterator[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    for name in names:
        parts = name.split(".")
        yield from filter(None, (_file(".".join(parts[: n + 1])) for n in range(1, len(parts))))


def _file(module: str) -> Path | None:
    package, *rest = module.split(".")
    if package != PACKAGE.name:
        return None
    place = PACKAGE.joinpath(*rest)
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)
