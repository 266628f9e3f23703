"""The code that a stage runs is all that it imports of the package, wherever that stands."""

import ast
import shutil
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


def walked(*modules: str) -> list[Path]:
    waiting = [file for module in modules if (file := code_hash._file(module))]
    seen = set[Path]()
    while waiting:
        file = waiting.pop()
        if file not in seen and kind_of(file) in {None, *(kind_of(f) for f in map(code_hash._file, modules) if f)}:
            seen.add(file)
            waiting.extend(parsed(file))
    return sorted(seen)


def kind_of(file: Path) -> str | None:
    """Return the kind of task that a file is of, or None."""
    folder, *within = file.relative_to(code_hash.PACKAGE).parts
    return within[0] if folder == "tasks" and len(within) > 1 and within[0] != "common" else None


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("quadrat.pipeline.")])
@pytest.mark.parametrize("parts", [(), ("quadrat.tasks.object_detection.layers",)])
def test_a_closure_is_what_pythons_parser_finds(module: str, parts: tuple[str, ...]) -> None:
    assert code_hash.closure(module, *parts) == walked(module, *parts)


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


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ("semantic_segmentation/targets/__init__.py", True),
        ("semantic_segmentation/section.py", True),
        ("common/targets.py", True),
        ("semantic_segmentation/layers/polygoniser.py", False),
        ("semantic_segmentation/scoring/__init__.py", False),
        ("object_detection/targets/__init__.py", False),
        ("chip_classification/section.py", False),
    ],
)
def test_a_hash_knows_the_parts_that_the_stage_takes_of_its_own_task_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, counts: bool
) -> None:
    shutil.copytree(code_hash.PACKAGE, tmp_path / "quadrat", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code_hash, "PACKAGE", tmp_path / "quadrat")

    def told() -> str:
        return code_hash.code_hash.__wrapped__("quadrat.pipeline.chip", "quadrat.tasks.semantic_segmentation.targets")

    before = told()
    with (tmp_path / "quadrat/tasks" / changed).open("a", encoding="utf-8") as file:
        file.write("\nX = 1\n")
    assert (told() != before) == counts
