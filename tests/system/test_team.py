"""A team shares a project through git and a bucket: what one pushes, another gets, whole, and nothing runs again."""

import re
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from quadrat.team.remote import Access, set_remote
from tests.project import call, change, commit, digests, environment, here, ran, small_run
from tests.stores import Store

MADE = ("data/analysis", "data/chips", "models/model", "data/predictions", "metrics")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, store: Store, shared: Path) -> Path:
    """Return the clone of who has run the pipeline, committed and pushed it."""
    folder = joined(small_run(tmp_path_factory.mktemp("first"), shared), store)
    call("dvc push", folder)
    return folder


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory, store: Store, first: Path) -> Path:
    """Return another's clone, with shallower trees on a branch, run, committed and pushed."""
    folder = cloned(first, tmp_path_factory.mktemp("second") / "clone", store)
    call("dvc pull", folder)
    assert ran(call("dvc repro", folder)) == []
    assert call("git status --porcelain", folder) == ""
    call("git checkout --quiet -b faster", folder)
    change(folder, {"model.max_depth": 1})
    assert ran(call("dvc repro", folder)) == ["train", "predict", "eval", "bundle"]
    commit(folder)
    call("dvc push", folder)
    return folder


def joined(folder: Path, store: Store, prefix: str = "trip") -> Path:
    set_remote(folder, f"s3://dvc/{prefix}", Access(store.endpoint, store.key, store.secret))
    commit(folder)
    return folder


def cloned(origin: Path, folder: Path, store: Store, prefix: str = "trip") -> Path:
    """Clone as another team member does, on another machine: nothing but git and the bucket is shared."""
    call(f"git clone --quiet {origin} {folder}", origin)
    set_remote(folder, f"s3://dvc/{prefix}", Access(store.endpoint, store.key, store.secret))
    return folder


def objects(store: Store, prefix: str = "trip") -> set[str]:
    return {path.removeprefix(f"dvc/{prefix}/files/md5/") for path in store.system().find(f"dvc/{prefix}/files/md5")}


def made(folder: Path) -> dict[str, str]:
    return {f"{name}/{file}": digest for name in MADE for file, digest in digests(folder / name).items()}


def test_a_clone_gets_all_and_runs_nothing(first: Path, second: Path) -> None:
    call("git checkout --quiet master", second)  # how the fixture has found it
    call("dvc checkout --quiet", second)
    assert made(second) == made(first)


def test_an_old_commit_brings_its_model_and_predictions_back(
    first: Path, second: Path, store: Store, tmp_path: Path
) -> None:
    folder = cloned(second, tmp_path / "clone", store)
    call("git checkout --quiet origin/faster", folder)
    call("dvc pull", folder)
    new = made(folder)
    call("git checkout --quiet HEAD~1", folder)
    shutil.rmtree(folder / ".dvc/cache")
    call("dvc pull --force", folder)
    assert made(folder) == made(first)
    changed = {name for name, digest in made(first).items() if new[name] != digest}
    assert {"models/model/model.safetensors", "data/predictions/all/labels.tif", "metrics/train.json"} <= changed
    assert not any(name.startswith(("data/analysis", "data/chips")) for name in changed)


def test_a_registered_bundle_is_got_without_the_project(
    second: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for branch, version in (("master", "v1.0.0"), ("faster", "v2.0.0")):
        call(f"git checkout --quiet {branch}", second)
        call(f"gto register bundle --version {version}", second)
    call("gto assign bundle --version v1.0.0 --stage production", second)
    call(f"git clone --quiet --bare {second} {tmp_path / 'team.git'}", second)  # which has no cache, as a server
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    depths = []
    for options, name in (("--stage production", "v1.zip"), ("--rev v2.0.0", "v2.zip")):
        call(f"dvc artifacts get team.git bundle {options} --out {name}", tmp_path)
        here(f"verify {name}", tmp_path)
        with zipfile.ZipFile(tmp_path / name) as file:
            depths.append(YAML(typ="safe").load(file.read("params.yaml"))["model"]["max_depth"])
    assert depths == [6, 1]
    told = here(f"origin {tmp_path / 'v2.zip'}", second)
    assert re.search(r"^in dvc.lock of \w+ \([^)]*tag: bundle@v2.0.0[^)]*\) all$", told, re.MULTILINE)


def test_gc_leaves_what_branches_need(second: Path, store: Store, tmp_path: Path) -> None:
    before = objects(store)
    (second / "forgotten.bin").write_bytes(b"no commit knows of it")
    call("dvc add forgotten.bin", second)
    call("dvc push forgotten.bin", second)
    call("git rm --quiet --cached --force forgotten.bin.dvc", second)
    (second / "forgotten.bin.dvc").unlink()
    call("git checkout --quiet --force .", second)
    (added,) = objects(store) - before
    call("dvc gc --all-branches --cloud --force", second)
    assert objects(store) == before
    assert not (second / ".dvc/cache/files/md5" / added).exists()
    for branch in ("master", "faster"):
        folder = cloned(second, tmp_path / branch, store)
        call(f"git checkout --quiet {branch}", folder)
        call("dvc pull", folder)  # which fails where an object is missing


def test_a_thousand_chips_are_a_few_objects(first: Path, store: Store, tmp_path: Path) -> None:
    folder = cloned(first, tmp_path / "clone", store)
    call("dvc pull data/raw/world.dvc analyze chip", folder)
    change(folder, {"chip.windows.count": 1000})
    assert ran(call("dvc repro chip", folder)) == ["chip"]
    assert sum(len(np.load(file, mmap_mode="r")) for file in (folder / "data/chips").rglob("w/*pixels*.npy")) == 1000
    before = objects(store)
    call("dvc push chip", folder)
    assert len(objects(store) - before) <= 8


def files(folder: Path, count: int, size: int, seed: int = 0) -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for n in range(count):
        (folder / f"{n}.bin").write_bytes(random.bytes(size))


def empty(folder: Path) -> Path:
    """Return a project without stages."""
    folder.mkdir()
    call("git init --quiet", folder)
    call("dvc init --quiet", folder)
    return folder


def test_a_push_that_was_killed_is_pushed_again(store: Store, tmp_path: Path) -> None:
    folder = joined(empty(tmp_path / "one"), store, "killed")
    files(folder / "imagery", 60, 2_000_000)
    call("dvc add imagery", folder)
    commit(folder)
    command = ["dvc", "push", "--jobs", "1"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=folder, env=environment(), stdout=quiet, stderr=quiet) as push:
        while not objects(store, "killed"):
            assert push.poll() is None
            time.sleep(0.05)
        push.send_signal(signal.SIGKILL)
    assert push.returncode == -signal.SIGKILL
    assert 0 < len(objects(store, "killed")) < 60
    other = cloned(folder, tmp_path / "other", store, "killed")
    assert refused("dvc pull", other)
    assert not (other / "imagery").exists()  # no half folder
    call("dvc push", folder)
    assert len(objects(store, "killed")) == 61  # and the list of the folder
    call("dvc pull", other)
    assert digests(other / "imagery") == digests(folder / "imagery")


def refused(command: str, folder: Path) -> str:
    """Return what is said by a command that fails."""
    words = command.split()
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


def test_wrong_credentials_push_nothing_and_lose_nothing(store: Store, tmp_path: Path) -> None:
    folder = joined(empty(tmp_path / "one"), store, "refused")
    files(folder / "imagery", 3, 1000)
    call("dvc add imagery", folder)
    set_remote(folder, "s3://dvc/refused", Access(secret="wrong"))  # noqa: S106 (that it is)
    assert refused("dvc push", folder)
    assert objects(store, "refused") == set()
    set_remote(folder, "s3://dvc/refused", Access(key=store.reader.key, secret=store.secret))
    assert refused("dvc push", folder)
    set_remote(folder, "s3://dvc/refused", Access(key=store.key, secret=store.secret))
    assert "4 files pushed" in call("dvc push", folder)
    commit(folder)
    other = cloned(folder, tmp_path / "other", store, "refused")
    set_remote(other, "s3://dvc/refused", Access(key=store.reader.key, secret=store.secret))
    call("dvc pull", other)  # who may only read, pulls
    assert digests(other / "imagery") == digests(folder / "imagery")


def test_two_clones_push_at_once(store: Store, tmp_path: Path) -> None:
    origin = joined(empty(tmp_path / "origin"), store, "both")
    clones = [cloned(origin, tmp_path / name, store, "both") for name in ("one", "two")]
    for number, folder in enumerate(clones):
        files(folder / "shared", 20, 300_000)
        files(folder / f"own{number}", 20, 300_000, seed=1 + number)
        call(f"dvc add shared own{number}", folder)
        commit(folder)
    pushes = [
        subprocess.Popen(["dvc", "push"], cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True)
        for folder in clones
    ]
    for push in pushes:
        printed, _ = push.communicate(timeout=120)
        assert push.returncode == 0
        assert re.search(r"\d+ files? pushed", printed)
    assert len(objects(store, "both")) == 3 * (20 + 1)
    for number, folder in enumerate(clones):
        other = cloned(folder, tmp_path / f"other{number}", store, "both")
        call("dvc pull", other)
        for name in ("shared", f"own{number}"):
            assert digests(other / name) == digests(folder / name)
