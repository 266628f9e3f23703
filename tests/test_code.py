"""The code that a stage runs is all that it imports of the package, wherever that stands."""

import ast
from pathlib import Path

import pytest

from quadrat.runtime.cache import code_hash

MODULES = sorted(
    ".".join(["quadrat", *path.relative_to(code_hash.PACKAGE).with_suffix("").parts])
    for path in code_hash.PACKAGE.rglob("*.py")
)


def parsed(path: Path) -> set[Path]:
    """Return the files that a module imports, as Python's own parser finds them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = [name.split(".") for name in names]
    return {file for one in parts for n in range(2, len(one) + 1) if (file := code_hash._file(".".join(one[:n])))}


def walked(module: str) -> list[Path]:
    start = code_hash._file(module)
    waiting, seen = [start] if start else [], set[Path]()
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting.extend(parsed(file))
    return sorted(seen)


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("quadrat.pipeline.")])
def test_a_closure_is_what_pythons_parser_finds(module: str) -> None:
    assert code_hash.closure(module) == walked(module)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "from quadrat.geo.grids.grid import Grid",
            {"quadrat.geo", "quadrat.geo.grids", "quadrat.geo.grids.grid", "quadrat.geo.grids.grid.Grid"},
        ),
        ("from quadrat import params, tasks as t", {"quadrat.params", "quadrat.tasks"}),
        ("import os, quadrat.params as p", {"quadrat.params"}),
        ("import quadrat.geo.grids", {"quadrat.geo", "quadrat.geo.grids"}),
        (
            "def f():\n    from quadrat import (\n        tasks,  # (one)\n        params,\n    )",
            {"quadrat.tasks", "quadrat.params"},
        ),
        ("from quadrat import \\\n  tasks, \\\n  params", {"quadrat.tasks", "quadrat.params"}),
        ("if True: import quadrat.tasks; from quadrat import params", {"quadrat.tasks", "quadrat.params"}),
        ("import quadratic.yaml\nfrom quadratic.yaml import a\nfrom elsewhere import quadrat", set()),
    ],
)
def test_an_import_is_found_however_it_is_written(source: str, expected: set[str]) -> None:
    ast.parse(source)
    assert {*code_hash._imported(source)} >= expected
    assert not expected or all(name.startswith("quadrat.") for name in expected)
    assert expected or not {*code_hash._imported(source)}


def test_another_code_has_another_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_hash, "PACKAGE", tmp_path / "quadrat")
    (tmp_path / "quadrat").mkdir()
    for name, text in {"a": "from quadrat.b import c", "b": "import quadrat.c", "c": "", "d": ""}.items():
        (tmp_path / "quadrat" / f"{name}.py").write_text(text, encoding="utf-8")

    def told() -> str:
        return code_hash.code_hash.__wrapped__("quadrat.a")

    first = told()
    (tmp_path / "quadrat" / "d.py").write_text("x = 1", encoding="utf-8")
    assert told() == first
    (tmp_path / "quadrat" / "c.py").write_text("x = 1", encoding="utf-8")
    assert told() != first


def test_code_that_decides_no_result_is_in_no_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_hash, "PACKAGE", tmp_path / "quadrat")
    (tmp_path / "quadrat" / "runtime").mkdir(parents=True)
    (tmp_path / "quadrat" / "a.py").write_text("from quadrat.runtime import progress", encoding="utf-8")
    file = tmp_path / "quadrat" / "runtime" / "progress.py"
    file.write_text("", encoding="utf-8")
    before = code_hash.code_hash.__wrapped__("quadrat.a")
    file.write_text("x = 1", encoding="utf-8")
    assert code_hash.code_hash.__wrapped__("quadrat.a") == before
