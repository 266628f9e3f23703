"""The command line answers at once, and tells errors in words."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quadrat.cli import app
from quadrat.cli.options import run_stage
from quadrat.pipeline.chip import ChipParams
from quadrat.runtime.run import Paths, Run
from tests.ground import write_raster

COMMANDS = (
    *("analyze", "chip", "train", "predict", "eval", "bundle", "check", "sample", "init", "apply", "verify"),
    *("remote", "doctor", "serve"),
)


def run(*arguments: str, cwd: Path, root: Path) -> subprocess.CompletedProcess[str]:
    paths = {**os.environ, "PYTHONPATH": str(root / "src"), "COLUMNS": "200"}
    command = [sys.executable, "-m", "quadrat", *arguments]
    return subprocess.run(command, cwd=cwd, env=paths, capture_output=True, text=True, check=False)


def test_help_lists_the_commands_and_imports_nothing_heavy(root: Path) -> None:
    code = "import sys; from quadrat.cli import app; print(*sys.modules)"
    paths = {**os.environ, "PYTHONPATH": str(root / "src")}
    loaded = subprocess.run([sys.executable, "-c", code], env=paths, capture_output=True, text=True, check=True)
    heavy = {"torch", "rasterio", "numpy", "pandas", "pydantic", "sklearn", "matplotlib", "dvc", "fastapi", "uvicorn"}
    assert not heavy & set(loaded.stdout.split())
    shown = run("--help", cwd=root, root=root)
    assert shown.returncode == 0
    assert all(command in shown.stdout for command in COMMANDS)


@pytest.mark.parametrize("stage", ["params", "analyze", "chip", "train", "predict", "eval", "bundle", "check"])
def test_every_stage_tells_of_missing_parameters_in_words(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="1"):
        app([stage])
    assert capsys.readouterr().err.startswith("ParamsError: the file is missing\n  file: params.yaml")


def test_a_stage_without_its_inputs_says_which_to_run_first(root: Path, tmp_path: Path) -> None:
    done = run("train", "--params", str(root / "params.yaml"), cwd=tmp_path, root=root)
    assert done.returncode == 1
    assert "there is no complete chip store" in done.stderr
    assert "hint: run the stage 'chip'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "got"),
    [("seed: 1", "seed: 2", "seed"), ("seed: 1", "seed: x", ""), ("lr: 0.002", "lr: 0.1", None)],
)
def test_a_stage_whose_parameters_are_changed_while_it_runs_fails(
    old: str, new: str, got: str | None, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("params.yaml")
    text = (root / file).read_text()
    assert f"\n{old}" in text
    file.write_text(text)
    seen = []

    def stage(params: ChipParams, _: Paths, run: Run) -> None:
        run.check()
        seen.append(params.seed)
        file.write_text(text.replace(f"\n{old}", f"\n{new}"))

    if got is None:  # chip takes no lr
        run_stage(stage, ChipParams, file)
    else:
        with pytest.raises(SystemExit, match="1"):
            run_stage(stage, ChipParams, file)
        said = capsys.readouterr().err
        assert "InputError: the parameters were changed while the stage ran\n  file: params.yaml\n" in said
        assert f"  got: {got}" in said
    assert seen == [1]


def test_a_package_that_isnt_installed_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    with pytest.raises(SystemExit, match="1"):
        app(["doctor"])
    assert capsys.readouterr().err == (
        "QuadratError: the command needs the package torch, which isn't installed\n"
        '  hint: run scripts/setup in the project, or pip install ".[project]"\n'
    )


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
@pytest.mark.parametrize("raised", [False, True])
def test_more_files_can_be_open_than_are_allowed_unasked(root: Path, tmp_path: Path, raised: bool) -> None:
    dates = [str(number) for number in range(150)]
    for date in dates:
        write_raster(tmp_path / f"{date}.tif", np.ones((1, 2, 2), np.uint8))
    code = f"""
import resource
from quadrat.cli import _open_many
from quadrat.scenes.image import Image, Source
resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
{"_open_many()" if raised else ""}
about = dict(bands=("a",), resampling="nearest", unit="DN", scale=1.0, offset=0.0)
image = Image(grid="a", dates={tuple(dates)}, sources=(Source(path="{tmp_path}/{{date}}.tif", **about),))
with image.open("a") as raster:
    print(raster.read(raster.grid.area).values.sum())
"""
    paths = {**os.environ, "PYTHONPATH": str(root / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=paths, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == ("600" if raised else "")
    assert raised or "Too many open files" in done.stderr
