"""None but one stage runs in a workspace, none outlives DVC, and one that was stopped goes on where it was."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from quadrat.runtime.process import alone
from quadrat.runtime.run import Paths
from tests.project import call, change, environment, learns, started, until

TRAIN = ["python", "-m", "quadrat", "train"]
ENDLESS = {"epochs": 100_000, "train.patience": 100_000}


@pytest.fixture
def endless(restored: Path) -> Iterator[Path]:
    """Return the project, with a training that goes on until it is ended."""
    change(restored, ENDLESS)
    (restored / Paths.lock).unlink(missing_ok=True)
    yield restored
    shutil.rmtree(restored / "models/.checkpoints", ignore_errors=True)


def held(folder: Path) -> bool:
    return (folder / Paths.lock).exists() and "process" in (folder / Paths.lock).read_text()


def holder(folder: Path) -> psutil.Process:
    """Return the process that the lock names."""
    words = (folder / Paths.lock).read_text().split()
    return psutil.Process(int(words[words.index("process") + 1]))


def quadrat(stage: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["python", "-m", "quadrat", stage]
    paths = {**environment(), "PYTHONPATH": "src"}
    return subprocess.run(command, cwd=folder, env=paths, capture_output=True, text=True, check=False)


HOLDING = "import time; from pathlib import Path; from quadrat.runtime.process import alone\n"
HOLDING += "with alone('train', Path('models/.lock')): time.sleep(1000)"


def test_a_second_stage_stops_at_once_and_the_first_goes_on(endless: Path) -> None:
    with started([sys.executable, "-c", HOLDING], endless) as first:
        until(lambda: held(endless))
        for stage in ("train", "chip"):
            second = quadrat(stage, endless)
            assert second.returncode == 1
            assert second.stderr.startswith("BusyError: another stage runs in this workspace\n  file: models/.lock\n")
            assert f"stage train, process {first.pid} on " in second.stderr
            assert "hint: wait for it" in second.stderr
        assert call("git status --porcelain --untracked-files -- models", endless) == ""
        output = call("dvc exp run --temp -S epochs=1 train", endless)  # another workspace, another lock
        assert "Ran experiment" in output
        assert first.poll() is None
        first.kill()
        first.wait()
        assert quadrat("chip", endless).returncode == 0


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


def test_ctrl_c_ends_dvc_and_its_stage(endless: Path) -> None:
    with started(["dvc", "repro", "--single-item", "train"], endless) as dvc:
        until(lambda: learns(endless))
        stage = holder(endless)
        os.killpg(dvc.pid, signal.SIGINT)  # as a terminal does
        printed, _ = dvc.communicate(timeout=60)
    assert not stage.is_running()
    assert dvc.returncode not in {0, -signal.SIGKILL}
    assert "stopped by SIGINT; written files are complete" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_that_was_stopped_ends_as_if_nothing_had_been(restored: Path, number: signal.Signals) -> None:
    weights = (restored / "models/model/model.safetensors").read_bytes()
    shutil.rmtree(restored / "models/model")
    with started(TRAIN, restored) as process:
        until(lambda: learns(restored))
        process.send_signal(number)
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == -number  # a shell says 128 + the number
    assert "Traceback" not in printed
    assert f"stopped by {number.name}" in printed
    assert not (restored / "models/model").exists()
    assert learns(restored)
    again = quadrat("train", restored)
    assert again.returncode == 0, again.stderr
    assert (restored / "models/model/model.safetensors").read_bytes() == weights
