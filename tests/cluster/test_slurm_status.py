"""What is told of submitted jobs, with programs in the place of SLURM's; tests/system/test_slurm.py runs those."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quadrat.cli import app
from quadrat.cluster import slurm
from quadrat.cluster.jobs import FOLDER, plan
from quadrat.errors import ClusterError

PROGRAMS = {"sbatch": "echo . >>count; wc -l <count", "squeue": "cat queue", "scancel": "echo $* >cancelled"}


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in PROGRAMS.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    queue()


def queue(*lines: str) -> None:
    Path("queue").write_text("".join(f"{line}\n" for line in lines))


def ended(name: str, code: str) -> None:
    (FOLDER / f"{name}.status").write_text(code)


def states() -> list[str]:
    return [row[2] for row in slurm.status(FOLDER)[0]]


def test_parts_are_counted_once_and_what_is_gone_without_a_status_is_stopped() -> None:
    slurm.submit(plan("chip", 3, gpu=False), FOLDER, "", 1)
    queue("1 1 COMPLETING", "1 2 RUNNING", "1 3 PENDING", "2 N/A PENDING", *(f"3 {n} PENDING" for n in (1, 2, 3)))
    ended("chip-1", "0\n")
    ended("chip-2", "")  # about to be written
    assert states()[:3] == ["1 done, 1 running, 1 pending", "1 pending", "3 pending"]
    (FOLDER / "chip-2.log").write_text("chip 40 %\n")
    queue()
    ended("chip-3", "1\n")
    (FOLDER / "chip-3.log").write_text("scene b\n")
    rows, failed = slurm.status(FOLDER)
    assert [row[2] for row in rows] == ["1 done, 1 stopped, 1 failed", "1 not run", "3 not run", "1 not run"]
    assert failed[0].endswith(
        "chip 40 %\nstopped by SLURM, without an exit status: it was cancelled, or out of time or memory"
    )
    assert failed[1].endswith("scene b")
    assert CliRunner().invoke(app, ["submit", "status"]).exit_code == 1


def test_jobs_are_not_submitted_while_others_have_not_ended() -> None:
    slurm.submit(plan("predict", 2, gpu=False), FOLDER, "", 1)
    queue("1 2 RUNNING")
    with pytest.raises(ClusterError, match=r"have not ended\n  got: predict \(1\)\n"):
        slurm.submit(plan("predict", 2, gpu=False), FOLDER, "", 1)
    queue()
    assert [one.id for one in slurm.submit(plan("predict", 2, gpu=False), FOLDER, "", 1).jobs] == ["3", "4"]


def test_options_that_are_no_words_are_an_error() -> None:
    result = CliRunner().invoke(app, ["submit", "slurm", "--dry-run", "--options", "--comment='one"])
    assert (result.exit_code, "No closing quotation" in result.output) == (1, True)


def test_logs_end_where_nobody_reads_on() -> None:
    slurm.submit(plan("train", 1, gpu=False), FOLDER, "", 1)
    (FOLDER / "train-0.log").write_text("line\n" * 100_000)
    command = [sys.executable, "-m", "quadrat", "submit", "logs", "train"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("== ")
        process.stdout.close()
        assert process.stderr.read() == ""
