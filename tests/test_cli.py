"""The command line answers at once, and tells errors in words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = (
    *("analyze", "chip", "train", "predict", "eval", "bundle", "check", "sample", "apply", "verify"),
    *("remote", "doctor"),
)


def run(*arguments: str, cwd: Path, root: Path) -> subprocess.CompletedProcess[str]:
    paths = {**os.environ, "PYTHONPATH": str(root / "src"), "COLUMNS": "200"}
    command = [sys.executable, "-m", "quadrat", *arguments]
    return subprocess.run(command, cwd=cwd, env=paths, capture_output=True, text=True, check=False)


def test_help_lists_the_commands_and_imports_nothing_heavy(root: Path) -> None:
    code = "import sys; from quadrat.cli import app; print(*sys.modules)"
    paths = {**os.environ, "PYTHONPATH": str(root / "src")}
    loaded = subprocess.run([sys.executable, "-c", code], env=paths, capture_output=True, text=True, check=True)
    heavy = {"torch", "rasterio", "numpy", "pandas", "pydantic", "sklearn", "matplotlib", "dvc"}
    assert not heavy & set(loaded.stdout.split())
    shown = run("--help", cwd=root, root=root)
    assert shown.returncode == 0
    assert all(command in shown.stdout for command in COMMANDS)


@pytest.mark.parametrize("stage", ["analyze", "chip", "train", "predict", "eval", "bundle", "check"])
def test_every_stage_tells_of_missing_parameters_in_words(stage: str, root: Path, tmp_path: Path) -> None:
    done = run(stage, cwd=tmp_path, root=root)
    assert done.returncode == 1
    assert done.stderr.startswith("ParamsError: the file is missing\n  file: params.yaml")


def test_a_stage_without_its_inputs_says_which_to_run_first(root: Path, tmp_path: Path) -> None:
    done = run("train", "--params", str(root / "params.yaml"), cwd=tmp_path, root=root)
    assert done.returncode == 1
    assert "there is no complete chip store" in done.stderr
    assert "mend: run the stage 'chip'" in done.stderr
    assert "Traceback" not in done.stderr
