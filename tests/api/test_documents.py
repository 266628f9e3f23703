"""docs/python.md and the notebook run, from top to bottom, in a project in which the pipeline has run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.project import ROOT
from tests.test_docs import blocks

NOTEBOOK = "examples/notebook.ipynb"


@pytest.fixture
def copy(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = Path(shutil.copytree(built, tmp_path / "project"))
    monkeypatch.chdir(folder)
    return folder


def run(snippets: list[str], page: str) -> dict[str, Any]:
    """Run snippets one after the other, as one program."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, snippet in enumerate(snippets):
        exec(compile(snippet, f"{page}, snippet {number}", "exec"), names)  # noqa: S102
    return names


@pytest.mark.usefixtures("copy")
def test_the_snippets_of_the_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    snippets = [block.content for block in blocks("python", "docs/python.md")]
    assert len(snippets) == 10
    names = run(snippets, "docs/python.md")
    assert names["scores"].overall == names["same"].overall
    assert names["paths"]["labels"].is_file()
    shown = capsys.readouterr().out
    assert "EPSG:32633" in shown
    assert "out/array/labels.tif" in shown


def test_the_notebook_runs(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    (copy / "examples").mkdir()
    monkeypatch.chdir(copy / "examples")  # where Jupyter runs it
    cells = json.loads((ROOT / NOTEBOOK).read_text(encoding="utf-8"))["cells"]
    names = run(["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"], NOTEBOOK)
    assert Path.cwd() == copy
    assert names["scores"].overall["accuracy"] > 0.9
    assert names["trained"].params.model.trees == 10
    names["plt"].close("all")


def test_the_notebook_is_one_without_outputs() -> None:
    content = json.loads((ROOT / NOTEBOOK).read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in content["cells"]}) == len(content["cells"])
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert all((cell["outputs"], cell["execution_count"]) == ([], None) for cell in code)
