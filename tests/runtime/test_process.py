"""One stage at a time in a workspace; signals end what runs in order."""

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from quadrat.errors import BusyError
from quadrat.runtime.process import alone
from tests.project import ROOT, environment, started


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
    with started([sys.executable, "-c", ENDING, str(tmp_path)], ROOT) as process:
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
    assert told.decode() == f"stopped by {number.name}; written files are complete; run it again to go on\n"


STUCK = """
import ctypes, sys
from quadrat.runtime import process
process.LAST = float(sys.argv[1])
python = ctypes.PyDLL(None)  # its calls keep the interpreter's lock
lock = ctypes.create_string_buffer(256)
with process.stoppable():
    python.pthread_mutex_lock(lock)
    print("stuck", flush=True)
    python.pthread_mutex_lock(lock)  # never returns
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_library_that_keeps_the_interpreters_lock_does_not_outlive_a_signal(number: signal.Signals) -> None:
    with stuck(-1.8) as process:
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGKILL
    assert told.decode() == f"killed after {number.name}, because a library blocked it\n"


def test_a_second_ctrl_c_ends_what_keeps_the_interpreters_lock_at_once() -> None:
    with stuck(600) as process:
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)  # the system joins equal signals that wait
        process.communicate(timeout=20)
    assert process.returncode == -signal.SIGKILL


def test_nothing_is_left_of_a_killed_command_that_watched_it() -> None:
    with stuck(600) as process:
        (watcher,) = psutil.Process(process.pid).children()
        process.kill()
        process.communicate(timeout=20)  # the watcher has closed its end of the pipes, too
    watcher.wait(20)


def test_a_watcher_does_not_outlive_a_command_that_ends_by_itself() -> None:
    code = "import psutil\nfrom quadrat.runtime.process import stoppable\n"
    code += "with stoppable(): print(psutil.Process().children()[0].pid)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=here())
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(done.stdout)).wait(20)


@contextlib.contextmanager
def stuck(seconds: float) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a command that keeps the interpreter's lock for ever."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", STUCK, str(seconds)], env=here(), **pipes) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"stuck\n"
            time.sleep(0.3)  # then it is
            yield process
        finally:
            process.kill()


def here() -> dict[str, str]:
    return {**environment(), "PYTHONPATH": str(ROOT / "src")}
