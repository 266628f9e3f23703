"""None but one stage runs in a workspace, none outlives DVC, and one that was stopped goes on where it was."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from quadrat.runtime.process import alone
from quadrat.runtime.run import Paths
from tests.project import HOLDING, NETWORK, call, change, environment, held, here, learnt, started, until

TRAIN = ["python", "-m", "quadrat", "train"]
ENDLESS = {**NETWORK, "baseline": None, "epochs": 100_000, "train.patience": 100_000}


@pytest.fixture
def endless(project: Path) -> Path:
    """Return the project, with a training that goes on until it is ended."""
    change(project, ENDLESS)
    (project / Paths.lock).unlink(missing_ok=True)
    return project


def holder(folder: Path) -> psutil.Process:
    """Return the process that the lock names."""
    words = (folder / Paths.lock).read_text().split()
    return psutil.Process(int(words[words.index("process") + 1]))


def quadrat(stage: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["python", "-m", "quadrat", stage]
    paths = {**environment(), "PYTHONPATH": "src"}
    return subprocess.run(command, cwd=folder, env=paths, capture_output=True, text=True, check=False)


def test_a_second_stage_stops_at_once_and_the_first_goes_on(project: Path) -> None:
    with started([sys.executable, "-c", HOLDING], project) as first:
        until(lambda: held(project))
        for stage in ("train", "chip"):
            second = quadrat(stage, project)
            assert second.returncode == 1
            assert second.stderr.startswith("BusyError: another stage runs in this workspace\n  file: models/.lock\n")
            assert f"stage train, process {first.pid} on " in second.stderr
            assert "hint: wait for it" in second.stderr
        assert call("git status --porcelain --untracked-files -- models", project) == ""
        assert first.poll() is None
        first.kill()
        first.wait()
        assert quadrat("chip", project).returncode == 0


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])  # which may stand between, or let the stage take its place
def test_a_stage_ends_when_dvc_is_killed(endless: Path, shell: str) -> None:
    with started(["dvc", "repro", "--single-item", "train"], endless, SHELL=shell) as dvc:
        until(lambda: held(endless))
        stage = holder(endless)
        assert stage.is_running()
        dvc.kill()
        dvc.wait()
        psutil.wait_procs([stage], timeout=30)
        assert not stage.is_running()
        assert dvc.stdout is not None
        assert "Traceback" not in dvc.stdout.read()
    with alone("test", endless / Paths.lock):
        pass


def test_a_stage_of_no_dvc_outlives_what_started_it(endless: Path) -> None:
    starter = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(1000)"
    with started([sys.executable, "-c", starter, *TRAIN], endless) as process:
        until(lambda: held(endless))
        process.kill()
        process.wait()
        time.sleep(2)
        assert holder(endless).is_running()


def test_a_training_that_is_stopped_again_and_again_ends_as_if_nothing_had_been(project: Path) -> None:
    change(project, {**NETWORK, "baseline": None, "epochs": 16, "train.patience": 16})
    model = project / "models/model"
    made = model / "model.safetensors", project / "metrics/train.json"
    here("train", project)
    expected = [file.read_bytes() for file in made]
    stop_by_ctrl_c(project)
    for number in (signal.SIGTERM, signal.SIGKILL):
        kept = learnt(project)
        with started(TRAIN, project) as process:
            until(lambda kept=kept: learnt(project) > kept)
            process.send_signal(number)
            printed, _ = process.communicate(timeout=60)
        assert process.returncode == -number  # a shell says 128 + the number
        assert "Traceback" not in printed
        assert ("stopped by SIGTERM" in printed) == (number == signal.SIGTERM)
        assert not model.exists()
    here("train", project)
    assert [file.read_bytes() for file in made] == expected


def stop_by_ctrl_c(folder: Path) -> None:
    """Let DVC train anew, and end it, and its stage, as a terminal does."""
    with started(["dvc", "repro", "--force", "--single-item", "train"], folder) as dvc:
        until(lambda: learnt(folder))
        stage = holder(folder)
        os.killpg(dvc.pid, signal.SIGINT)
        printed, _ = dvc.communicate(timeout=60)
    assert not stage.is_running()
    assert dvc.returncode not in {0, -signal.SIGKILL}
    assert "stopped by SIGINT; written files are complete" in printed
    assert "Traceback" not in printed
    assert not (folder / "models/model").exists()
