"""What befalls a stage loses nothing: after a full disk, which is told in words, or a signal it is simply run again."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from quadrat.chips.store import INDEX
from quadrat.runtime.run import Paths
from tests.project import NETWORK, call, change, digests, environment, here

FULL = """
mount -t tmpfs -o size=64m tmpfs $folder && cp -a $before/. $folder
mount -o remount,size=$(( $(du -sk $folder | cut -f1) + $room ))k $folder
$stage 2> $said || echo $? > $status
cp -a $folder/. $left
mount -o remount,size=64m $folder && $stage && cp -a $folder/. $after
"""
"""What is done in a mount namespace, where nobody else sees that ``folder`` is a small disk, and later a larger one."""

LIMITED = """
(ulimit -f $(( 2 * $limit )); $stage 2> $said || echo $? > $status)
cp -a $folder/. $left
$stage && cp -a $folder/. $after
"""
"""The same where one may not mount: no file may be larger than there was room."""


@pytest.fixture
def workspace(project: Path) -> Path:
    """Return the project at the commit at which its pipeline ran: stages tell of the same one again."""
    call("git reset --quiet --soft HEAD~1", project)
    return project


def mountable() -> bool:
    command = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


MADE = ("data/analysis", "data/chips", "data/predictions", "models/model", "models/baseline", "metrics")

CASES = {
    "chip --force": ("data", 150, 150, "data/chips/w"),
    "train": ("models", 400, None, ".ckpt"),
    "predict --force": ("data", 20, None, "data/predictions/"),
    "bundle": ("models", 20, None, "models/bundle.zip"),
}
"""For each stage: the folder that fills up, kB that it may grow by, kB of its largest file (None: DVC, whose memory
the stage asks, has larger ones), and what the error names."""


@pytest.mark.parametrize("stage", CASES)
def test_a_full_disk_loses_nothing(stage: str, workspace: Path, tmp_path: Path) -> None:
    how = FULL if mountable() else LIMITED
    folder, room, limit, named = CASES[stage]
    if how == LIMITED and limit is None:
        pytest.skip("may not mount a small disk, and a limit stops DVC before the stage")
    if stage == "train":
        change(workspace, {**NETWORK, "epochs": 3})  # which keeps checkpoints
    before = found(workspace / folder)
    places = {name: tmp_path / name for name in ("before", "left", "after", "said", "status")}
    shutil.copytree(workspace / folder, places["before"])
    for name in ("left", "after"):
        places[name].mkdir()
    variables = {name: str(place) for name, place in places.items()}
    variables |= {"folder": folder, "room": str(room), "limit": str(limit), "stage": f"python -m quadrat {stage}"}
    run(how, workspace, variables)
    said = places["said"].read_text()
    assert places["status"].read_text() == "1\n", said
    assert "Traceback" not in said
    assert "hint: make room" in said or "hint: check that the disk has room" in said
    assert named in said
    passing = (f"chips/{INDEX}", ".baseline/")  # no store while chips change; and a cache
    kept = {name: digest for name, digest in before.items() if not name.startswith(passing)}
    assert kept.items() <= found(places["left"]).items()  # also what the stage was to make anew
    assert not [file for file in places["left"].rglob("*") if ".part-" in file.name]
    for checkpoint in places["left"].rglob("*.ckpt"):
        torch.load(checkpoint, weights_only=True)
    after = found(places["after"])
    assert after == before or (
        stage == "train" and after["model/model.safetensors"] != before["model/model.safetensors"]
    )


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        ("analyze", signal.SIGTERM),
        ("chip", signal.SIGINT),
        ("predict", signal.SIGINT),
        ("eval", signal.SIGTERM),
        ("bundle", signal.SIGINT),
    ],
)
def test_a_stage_that_was_stopped_is_simply_run_again(stage: str, number: signal.Signals, workspace: Path) -> None:
    before = made(workspace)
    command = [sys.executable, "-m", "quadrat", stage, *["--force"] * (stage in {"chip", "predict"})]
    settings = {**environment(), "PYTHONPATH": "src"}
    lock = workspace / Paths.lock
    lock.unlink()
    with subprocess.Popen(command, cwd=workspace, env=settings, stderr=subprocess.PIPE, text=True) as process:
        while not lock.exists() or f"process {process.pid} " not in lock.read_text():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert process.returncode == -number, said
    assert "Traceback" not in said
    assert f"stopped by {number.name}" in said
    left = made(workspace)
    assert left.items() <= before.items()  # what is there is whole
    assert not [file for file in workspace.rglob("*") if ".part-" in file.name]
    here(" ".join(command[3:]), workspace)
    assert made(workspace) == before


def made(folder: Path) -> dict[str, str]:
    return {f"{name}/{file}": digest for name in MADE for file, digest in found(folder / name).items()}


def run(how: str, folder: Path, variables: dict[str, str]) -> None:
    inside = ["unshare", "--map-root-user", "--mount"] if how == FULL else []
    done = subprocess.run(
        [*inside, "sh", "-euc", how],
        cwd=folder,
        env={**environment(), **variables, "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def found(folder: Path) -> dict[str, str]:
    """Return the checksums of what stages make, but for what tells of which commit."""
    return {name: digest for name, digest in digests(folder).items() if Path(name).name != "model.json"}
