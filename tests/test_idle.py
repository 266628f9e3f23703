"""A stage that finds nothing to do loads nothing of what would do it: that would take most of its time."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quadrat.cli import app
from tests.ground import write_world
from tests.project import WORLD, change, digests

HEAVY = {
    *("dvc", "geopandas", "lightning", "matplotlib", "onnxruntime", "pandas", "pyarrow", "pyogrio", "pyproj"),
    *("pytorch_lightning", "rasterio", "rioxarray", "scipy", "sklearn", "timm", "torch", "xarray"),
}
"""What reads, learns and writes."""

IDLE = ("chip", "predict")
"""Stages that leave what stands as it is."""


def run(code: str, root: Path, folder: Path, *arguments: str) -> str:
    paths = {**os.environ, "PYTHONPATH": str(root / "src"), "QUADRAT_TRACEBACK": "1"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=folder, env=paths, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(stage: str, root: Path, folder: Path) -> set[str]:
    """Return what is loaded at the end of a stage."""
    code = "import sys; from quadrat.__main__ import main\ntry: main()\nfinally: print(*sys.modules)"
    return {name.partition(".")[0] for name in run(code, root, folder, stage).splitlines()[-1].split()}


@pytest.fixture(scope="module")
def made(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small project, outside of DVC, whose scenes are predicted."""
    folder = tmp_path_factory.mktemp("idle")
    shutil.copy(root / "params.yaml", folder)
    (folder / "data/raw").mkdir(parents=True)
    with contextlib.chdir(folder):
        write_world(Path("data/raw/world"))
    change(folder, {**WORLD, "baseline": None})
    with contextlib.chdir(folder):
        for stage in ("analyze", "chip", "train", "predict"):
            assert CliRunner().invoke(app, [stage]).exit_code == 0
    return folder


def test_what_has_nothing_to_do_loads_nothing_that_would_do_it(root: Path, made: Path) -> None:
    before = digests(made)
    for stage in IDLE:
        assert HEAVY & loaded(stage, root, made) <= {"rasterio"}, stage  # it says which GDAL there is
    assert digests(made) == before


def test_parameters_and_stages_are_there_before_what_they_work_with(root: Path) -> None:
    stages = ", ".join(
        f"quadrat.pipeline.{one}" for one in ("check_params", "analyze", "chip", "predict", "eval", "bundle")
    )
    code = f"import sys; import quadrat.params, {stages}; print(*sys.modules)"
    assert not HEAVY & {*run(code, root, root).split()}
