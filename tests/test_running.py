"""One stage at a time in a workspace; none outlives DVC; signals end them in order."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from quadrat.errors import BusyError
from quadrat.runtime.process import alone
from tests.project import call, change, environment, small

TRAIN = ["python", "-m", "quadrat", "train"]
ENDLESS = {"epochs": 100_000, "train.patience": 100_000}
FEW = {"epochs": 8, "train.patience": 8}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small project with chips."""
    folder = small(tmp_path_factory.mktemp("small"))
    call("dvc repro chip", folder)
    return folder


@pytest.fixture
def endless(project: Path) -> Iterator[Path]:
    """Return the project, with a training that goes on until it is ended."""
    parameters = (project / "params.yaml").read_text()
    change(project, ENDLESS)
    yield project
    (project / "params.yaml").write_text(parameters)
    shutil.rmtree(project / "models/.checkpoints", ignore_errors=True)


@contextmanager
def started(command: list[str], folder: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a process group of its own, and leave nothing of it behind."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**environment(), "PYTHONPATH": "src", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)


def learns(folder: Path) -> bool:
    return bool(list((folder / "models/.checkpoints").glob("*/last.ckpt")))


def holder(folder: Path) -> psutil.Process:
    """Return the process that the lock names."""
    words = (folder / "models/.lock").read_text().split()
    return psutil.Process(int(words[words.index("process") + 1]))


def quadrat(stage: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["python", "-m", "quadrat", stage]
    paths = {**environment(), "PYTHONPATH": "src"}
    return subprocess.run(command, cwd=folder, env=paths, capture_output=True, text=True, check=False)


def test_the_lock_goes_with_its_process_and_says_who_held_it(tmp_path: Path) -> None:
    file = tmp_path / "models/.lock"
    code = "import sys, time; from pathlib import Path; from quadrat.runtime.process import alone\n"
    code += "with alone('train', Path(sys.argv[1])): print('held', flush=True); time.sleep(100)"
    with subprocess.Popen([sys.executable, "-c", code, file], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with (
            pytest.raises(BusyError, match=rf"stage train, process {process.pid} on (.|\n)*hint: wait"),
            alone("chip", file),
        ):
            pass
        process.kill()
    with (
        alone("chip", file),
        pytest.raises(BusyError, match=f"stage chip, process {os.getpid()} "),
        alone("chip", file),
    ):
        pass
    with alone("predict", file):
        assert "stage predict" in file.read_text()
    assert len(file.read_text().splitlines()) == 1


def test_where_files_cannot_be_locked_a_stage_runs_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with alone("chip", tmp_path / ".lock"):
        pass
    assert "don't run two stages at once" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_a_second_stage_stops_at_once_and_the_first_goes_on(endless: Path) -> None:
    with started(TRAIN, endless) as first:
        until(lambda: learns(endless))
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


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])  # which may stand between, or let the stage take its place
def test_a_stage_ends_when_dvc_is_killed(endless: Path, shell: str) -> None:
    with started(["dvc", "repro", "--single-item", "train"], endless, SHELL=shell) as dvc:
        until(lambda: learns(endless))
        stage = holder(endless)
        assert stage.is_running()
        dvc.kill()
        dvc.wait()
        psutil.wait_procs([stage], timeout=30)
        assert not stage.is_running()
        assert dvc.stdout is not None
        assert "Traceback" not in dvc.stdout.read()
    with alone("test", endless / "models/.lock"):
        assert learns(endless)


@pytest.mark.slow
def test_a_stage_of_no_dvc_outlives_what_started_it(endless: Path) -> None:
    starter = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(1000)"
    with started([sys.executable, "-c", starter, *TRAIN], endless) as process:
        until(lambda: learns(endless))
        process.kill()
        process.wait()
        time.sleep(2)
        assert holder(endless).is_running()


@pytest.mark.slow
def test_ctrl_c_ends_dvc_and_its_stage(endless: Path) -> None:
    with started(["dvc", "repro", "--single-item", "train"], endless) as dvc:
        until(lambda: learns(endless))
        stage = holder(endless)
        os.killpg(dvc.pid, signal.SIGINT)  # as a terminal does
        printed, _ = dvc.communicate(timeout=60)
    assert not stage.is_running()
    assert dvc.returncode not in {0, -signal.SIGKILL}
    assert "stopped by SIGINT; what is written is whole" in printed
    assert "Traceback" not in printed


@pytest.fixture(scope="module")
def weights(project: Path) -> bytes:
    """Return what a training of FEW gives that nobody stops."""
    parameters = (project / "params.yaml").read_text()
    change(project, FEW)
    whole = quadrat("train", project)
    assert whole.returncode == 0, whole.stderr
    (project / "params.yaml").write_text(parameters)
    return (project / "models/model/model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_that_was_stopped_ends_as_if_nothing_had_been(
    weights: bytes, endless: Path, number: signal.Signals
) -> None:
    change(endless, FEW)
    shutil.rmtree(endless / "models/model")
    with started(TRAIN, endless) as process:
        until(lambda: learns(endless))
        process.send_signal(number)
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == -number  # a shell says 128 + the number
    assert "Traceback" not in printed
    assert f"stopped by {number.name}" in printed
    assert not (endless / "models/model").exists()
    assert learns(endless)
    again = quadrat("train", endless)
    assert again.returncode == 0, again.stderr
    assert (endless / "models/model/model.safetensors").read_bytes() == weights


ENDING = """
import sys, time
from pathlib import Path
from quadrat.runtime.parallel import Threads, ahead, results
from quadrat.runtime.files import replaced
from quadrat.runtime.process import stoppable

def work(n):
    time.sleep(0.3)
    (Path(sys.argv[1]) / f"{n}.done").touch()
    return n

with stoppable(), replaced(Path(sys.argv[1]) / "out") as part:
    part.write_text("half")
    for n in results(Threads(2).map(work, ahead(range(1000)))):
        print(n, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_threads_and_files_are_left_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with started([sys.executable, "-c", ENDING, str(tmp_path)], Path(__file__).parents[1]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        process.send_signal(number)
        printed, _ = process.communicate(timeout=20)
    assert process.returncode == -number
    assert "Traceback" not in printed
    assert {file.suffix for file in tmp_path.iterdir()} == {".done"}  # neither the output nor its part
    assert len(list(tmp_path.iterdir())) < 20


def test_what_is_ignored_by_who_starts_a_command_stays_ignored(tmp_path: Path) -> None:
    code = "import signal; from quadrat.runtime.process import stoppable\n"
    code += "with stoppable(): signal.raise_signal(signal.SIGINT); print('went on')"
    words = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, env=here())
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    code = "import signal, time; from quadrat.runtime.process import stoppable\nwith stoppable():\n"
    code += " try: signal.raise_signal(signal.SIGINT)\n finally: print('slow', flush=True); time.sleep(100)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, env=here()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"slow\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_error_on_the_way_out_does_not_hide_the_signal(tmp_path: Path, number: signal.Signals) -> None:
    code = "import signal; from quadrat.runtime.process import stoppable\nwith stoppable():\n"
    code += f" try: signal.raise_signal({number})\n finally: raise RuntimeError('release unlocked lock')"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, env=here())
    assert done.returncode == -number
    assert "Traceback" not in done.stderr
    assert f"stopped by {number.name}" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_scene_that_threads_are_still_at_is_waited_for_a_moment_and_no_longer(
    tmp_path: Path, number: signal.Signals
) -> None:
    code = "import time\nfrom quadrat.runtime import process\nfrom quadrat.runtime.parallel import Threads, results\n"
    code += "process.LAST = 1\n"
    code += "with process.stoppable():\n"
    code += " for n in results(Threads(2).map(time.sleep, [0, 600, 600])): print('one', flush=True)"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=here(), **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"one\n"
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert told.decode() == f"stopped by {number.name}; what is written is whole: run it again to go on\n"


def test_the_system_ends_what_lets_no_thread_run(tmp_path: Path) -> None:
    code = "import os, signal; from quadrat.runtime import process\nprocess.LAST, process._end = -1, lambda _: None\n"
    code += "with process.stoppable():\n"
    code += " try: signal.raise_signal(signal.SIGTERM)\n finally: os.read(os.pipe()[0], 1)"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, env=here(), timeout=20)
    assert done.returncode == -signal.SIGALRM


def here() -> dict[str, str]:
    return {**environment(), "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
