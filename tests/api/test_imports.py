"""What the package imports: nothing at first, and of the optional packages only what is used."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import quadrat
from tests.project import ROOT, environment

HEAVY = ("numpy", "pandas", "pydantic", "rasterio", "torch", "xarray")

MODULES = {"dvc": "dvc", "scikit-learn": "sklearn"}
"""Modules that are not called as their package."""

BLOCK = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""

USE = """
import numpy as np
import rasterio
import quadrat
from quadrat.cli import app
with rasterio.open("data/image.tif") as file:
    raw = file.read()
layers = quadrat.load("models/bundle.zip", layers={"polygons": "polygons.parquet"}).predict(raw)
with quadrat.open_scene("east") as scene:
    assert scene.to_xarray().shape == raw.shape
    scores = quadrat.evaluate(layers["labels"].values, scene)
assert scores.overall["accuracy"] > 0.9
options = ["--bands", "B1,B2,B3", "--out", OUT]
app(["apply", "models/bundle.zip", "data/image.tif", *options], standalone_mode=False)
app(["verify", "models/bundle.zip"], standalone_mode=False)
"""


def python(code: str, folder: Path) -> str:
    about = {**environment(), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=about, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def project_file() -> dict[str, Any]:
    content: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return content


def modules(requirements: list[str]) -> set[str]:
    """Return the modules of requirements, but not of this package's own extras."""
    names = {re.split(r"[\[<>=!]", one)[0] for one in requirements} - {"quadrat"}
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    shown = python("import quadrat, sys; print(*dir(quadrat)); print(*sys.modules)", tmp_path)
    names, loaded = (line.split() for line in shown.splitlines())
    assert names == quadrat.__all__
    assert not {*HEAVY} & {*loaded}


def test_each_public_name_is_what_editors_and_type_checkers_see() -> None:
    tree = ast.parse(Path(str(quadrat.__file__)).read_bytes())
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {name.name: node.module for node in checked.body for name in node.names if isinstance(node, ast.ImportFrom)}
    assert sorted(seen) == quadrat.__all__ == sorted(quadrat.__all__)
    for name, module in seen.items():
        assert getattr(quadrat, name).__module__ == module
        assert getattr(quadrat, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = quadrat.laod


@pytest.mark.parametrize("extras", [["project"], ["project", "predict"]], ids=["predict", "nothing"])
def test_predicting_needs_no_package_of_another_extra(built: Path, tmp_path: Path, extras: list[str]) -> None:
    known = project_file()["optional-dependencies"]
    blocked = {module for extra in extras for module in modules(known[extra])}
    assert {"dvc", "dvclive", "pytorch_lightning"} <= blocked
    assert ("torch" in blocked) == ("predict" in extras)
    python(f"BLOCKED = {blocked}\nOUT = {str(tmp_path)!r}\n{BLOCK}\n{USE}", built)
    assert (tmp_path / "image/labels.tif").is_file()


def test_extras_build_on_each_other() -> None:
    content = project_file()
    extras = content["optional-dependencies"]
    assert "quadrat[predict]" in extras["project"]
    assert "quadrat[project,serve,cluster]" in extras["dev"]
    assert not modules(content["dependencies"]) & {"dvc", "dvclive", "pytorch_lightning", "torch"}
