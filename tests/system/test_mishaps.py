"""What befalls a stage loses nothing: after a full disk, which is told in words, or a signal it is simply run again."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread

import pytest
import torch

from quadrat.chips.store import INDEX
from quadrat.runtime.run import Paths
from tests.project import NETWORK, call, change, digests, environment, here, ran

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


def fails(command: str, folder: Path) -> str:
    done = subprocess.run(command.split(), cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode, done.stdout
    return done.stdout + done.stderr


@pytest.mark.parametrize("kept", [0, 8192])
def test_a_lock_that_is_cut_short_is_named_and_restored(kept: int, project: Path) -> None:
    lock = project / "dvc.lock"
    whole = lock.read_bytes()
    cut = whole.index(b"md5", kept) + 2 if kept else 0  # within a key; between two, the rest may be valid by chance
    lock.write_bytes(whole[:cut])  # as by a kill: DVC empties the file, and writes 8192 bytes at once
    fails("dvc repro", project)
    for command in ("quadrat doctor", "quadrat check", "quadrat check --lock"):
        said = fails(command, project)
        assert "dvc.lock is cut short" in said
        assert "git checkout HEAD dvc.lock, then dvc repro" in said
    call("git checkout HEAD dvc.lock", project)
    assert ran(call("dvc repro", project)) == []
    assert lock.read_bytes() == whole


def test_what_a_killed_pull_leaves_does_not_stop_the_next_one(project: Path) -> None:
    raw = project / "data/raw/world"
    left, image = raw / ".Ab-dEf_hIjKlMnOpQrStUv.tmp", raw / "image.tif"
    content = image.read_bytes()
    left.write_bytes(content[:1000])
    image.unlink()
    ignored = project / ".dvcignore"
    told = ignored.read_text()
    ignored.write_text("\n".join(line for line in told.splitlines() if ".tmp" not in line))
    assert f"without confirmation. Use `--force` to force.\n{left}" in fails("dvc pull", project)
    ignored.write_text(told)
    assert "1 half-written: data/raw/world/.Ab-dEf_hIjKlMnOpQrStUv.tmp" in call("quadrat doctor", project)
    call("dvc pull", project)
    assert image.read_bytes() == content


def test_an_image_that_is_rewritten_during_predict_gives_no_result_that_counts(project: Path) -> None:
    image, ended = project / "data/raw/world/image.tif", Event()
    content, lock = image.read_bytes(), (project / "dvc.lock").read_bytes()
    other = content[:-64] + bytes(64)

    def rewrite() -> None:
        while not ended.wait(0.05):
            for written in (other, content):
                image.write_bytes(written)

    call("dvc unprotect data/raw/world", project)
    writer = Thread(target=rewrite)
    writer.start()
    try:
        said = fails("dvc repro --force --single-item predict", project)
    finally:
        ended.set()
        writer.join()
    assert "InputError: an input was changed while it was read\n" in said
    assert "  file: data/raw/world/image.tif\n" in said
    assert (project / "dvc.lock").read_bytes() == lock
    image.write_bytes(other)
    call("dvc add data/raw/world", project)
    assert "predict" in ran(call("dvc repro", project))
    assert "up to date" in call("quadrat check --lock", project)


def test_results_that_dvc_was_told_to_take_for_those_of_other_inputs_are_named(project: Path) -> None:
    image = project / "data/raw/world/image.tif"
    assert "dvc.lock is up to date" in call("quadrat check --lock", project)
    image.write_bytes(image.read_bytes()[:-64] + bytes(64))
    call("dvc add data/raw/world", project)
    call("dvc commit --force", project)
    assert "up to date" in call("dvc status", project)
    said = fails("quadrat check --lock", project)
    assert "dvc.lock is up to date\nthe results of stage 'predict' were made of another data/raw/world than" in said
    assert "data/raw/world of predict" in fails("quadrat doctor", project)
    assert ran(call("dvc repro --force --single-item predict", project)) == ["predict"]
    assert ran(call("dvc repro", project)) == ["eval", "bundle"]
    assert call("quadrat check --lock", project) == "dvc.lock is up to date\n"
