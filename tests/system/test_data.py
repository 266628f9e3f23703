"""The three ways in which teams hold imagery: docs/data.md is walked, command by command, on an object store."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from quadrat.team.remote import Access, set_remote
from tests.project import call, change, commit, digests, environment, ran, small
from tests.stores import Store
from tests.test_docs import COMMANDS

WORLD = "data/raw/world"
HERE = {"data/raw/town": WORLD, "s3://team-imagery/town": "s3://imagery/imported"}
"""What the names of the docs are called here."""


@pytest.fixture(autouse=True)
def reached(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment say where the store is, and who asks, as DVC takes it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, store.environment[name])


EACH = """
import sys
from quadrat.cli import app
for stage in sys.argv[1:]:
    try:
        app([stage], standalone_mode=False)
    except SystemExit as end:
        print("STATUS", end.code)
"""
"""Stages one after the other, each whatever became of those before."""


class Walk:
    """The commands of a section of docs/data.md, to be run in their order."""

    def __init__(self, heading: str, **instead: str) -> None:
        """Take the section; commands ``instead`` of programs' (``dvc_repro``) are those that a test has time for."""
        self._left = [
            command for block, command in COMMANDS if (block.page, block.heading) == ("docs/data.md", heading)
        ]
        self._instead = {name.replace("_", " "): command for name, command in instead.items()}
        assert self._left

    def __call__(self, command: str, folder: Path) -> str:
        assert command == self._left.pop(0)
        command = self._instead.get(command, command)
        for name, here in HERE.items():
            command = command.replace(name, here)
        return call(command, folder)

    @property
    def done(self) -> bool:
        return not self._left


def failed(command: str, folder: Path) -> str:
    """Return what is said by a command that fails."""
    words = command.split()
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stdout + done.stderr


def brighter(file: Path) -> Path:
    """Add to the pixels of an image."""
    with rasterio.open(file) as image:
        pixels, profile = image.read(), image.profile
    with rasterio.open(file, "w", **profile) as image:
        image.write(np.where(pixels == 0, 0, pixels + 100).astype(pixels.dtype))
    return file


def mean(folder: Path) -> float:
    return float(json.loads((folder / "data/analysis/stats.json").read_text())["bands"][0]["mean"])


def test_files_that_dvc_versions(store: Store, tmp_path: Path) -> None:
    walk = Walk("Files that DVC versions", dvc_repro="dvc repro analyze", dvc_pull=f"dvc pull {WORLD}.dvc analyze")
    folder = small(tmp_path / "one")
    set_remote(folder, "s3://dvc/raw", Access(store.endpoint, store.key, store.secret))
    walk("dvc add data/raw/town", folder)
    assert ran(walk("dvc repro", folder)) == ["analyze"]
    walk("dvc push", folder)
    commit(folder)
    before, dark = digests(folder / WORLD), mean(folder)

    brighter(folder / WORLD / "image.tif")
    call(f"dvc add {WORLD}", folder)
    assert ran(call("dvc repro analyze", folder)) == ["analyze"]
    assert mean(folder) == pytest.approx(dark + 100)
    call("dvc push", folder)
    commit(folder)

    other = tmp_path / "two"
    call(f"git clone --quiet {folder} {other}", tmp_path)
    set_remote(other, "s3://dvc/raw", Access(store.endpoint, store.key, store.secret))
    walk("dvc pull", other)
    assert ran(call("dvc repro analyze", other)) == []
    assert digests(other / WORLD) == digests(folder / WORLD)
    call("git checkout --quiet --force HEAD~1", other)
    call(f"dvc pull {WORLD}.dvc analyze", other)
    assert digests(other / WORLD) == before
    assert mean(other) == dark
    assert walk.done


def elsewhere(folder: Path, store: Store) -> Path:
    """Take images, labels and areas of a project to the store, and name them there; scene m gets its own image."""
    catalog = json.loads((folder / WORLD / "scenes.yaml").read_text())
    shutil.copy(folder / WORLD / "image.tif", folder / WORLD / "other.tif")
    catalog["images"]["j"] = json.loads(json.dumps(catalog["images"]["i"]).replace("image.tif", "other.tif"))
    for scene in catalog["scenes"]:
        scene["image"] = "j" if scene["id"] == "m" else "i"
    text = json.dumps(catalog)
    for file in (folder / WORLD).iterdir():
        if file.name != "scenes.yaml":
            text = text.replace(f"{WORLD}/{file.name}", store.put(file, f"stays/{file.name}"))
    (folder / "data/scenes.yaml").write_text(text)
    shutil.copy(folder / WORLD / "image.tif", folder.parent / "image.tif")
    call(f"dvc remove {WORLD}.dvc", folder)
    shutil.rmtree(folder / WORLD)
    change(folder, dict.fromkeys(("scenes", "raw", "aoi"), "data/scenes.yaml"))
    return folder


def test_imagery_that_stays_in_a_bucket(store: Store, tmp_path: Path) -> None:
    walk = Walk("Imagery that stays in a bucket", dvc_repro="dvc repro eval")  # what follows reads no imagery
    folder = elsewhere(small(tmp_path / "one"), store)
    said = failed("dvc repro", folder)
    assert "PinError: the object is not pinned" in said
    assert "(and 5 more: `quadrat index --check` lists all)" in said
    assert "6 new, 0 changed, 0 dropped" in walk("quadrat index", folder)
    assert ran(walk("dvc repro", folder)) == ["analyze", "chip", "train", "predict", "eval"]
    assert (folder / "data/analysis/warnings.txt").read_text() == "no warnings\n"
    commit(folder)
    dark = mean(folder)
    assert "0 new, 0 changed, 0 dropped, 6 as pinned" in walk("quadrat index --check", folder)

    store.put(brighter(tmp_path / "image.tif"), "stays/image.tif")
    assert ran(call("dvc repro eval", folder)) == []  # nothing runs, so nothing is asked
    assert "1 changed" in failed("quadrat index --check", folder)
    assert "the object is another than is pinned" in failed("quadrat check", folder)
    stages = ["analyze", "chip", "predict", "eval"]
    said = call(shlex.join([sys.executable, "-c", EACH, *stages]), folder)
    for words in ("PinError: the object is another than is pinned\n  scene: ", "  expected: etag ", "STATUS 1"):
        assert said.count(words) == len(stages), said
    assert said.count("  file: s3://imagery/stays/image.tif\n") == len(stages)
    assert (
        call("dvc status --with-deps eval", folder).strip() == "Data and pipelines are up to date."
    )  # and nothing is written

    assert "changed s3://imagery/stays/image.tif" in walk("quadrat index", folder)
    said = walk("dvc repro", folder)
    assert ran(said) == ["analyze", "chip", "train", "predict", "eval"]
    assert "cut again for 1 of 2 scenes" in re.sub(r"\s+", " ", said)  # of train and validation, w and not m
    assert mean(folder) == pytest.approx(dark + 100)
    call("git checkout --quiet data/pins.json", folder)  # what was pinned isn't in the bucket any more
    assert "another than is pinned" in failed("quadrat check", folder)
    assert walk.done


def test_imported_imagery_is_got_anew_by_dvc_update(store: Store, tmp_path: Path) -> None:
    walk = Walk("Imports", dvc_repro="dvc repro analyze")
    folder = small(tmp_path / "one")
    set_remote(folder, "s3://dvc/imports", Access(store.endpoint, store.key, store.secret))
    shutil.copy(folder / WORLD / "image.tif", tmp_path / "image.tif")
    for file in (folder / WORLD).iterdir():
        store.put(file, f"imported/{file.name}")
    call(f"dvc remove {WORLD}.dvc", folder)
    shutil.rmtree(folder / WORLD)

    walk("dvc import-url s3://team-imagery/town data/raw/town", folder)
    assert ran(walk("dvc repro", folder)) == ["analyze"]
    assert re.search(r"\d+ files? pushed", walk("dvc push", folder))
    commit(folder)
    dark = mean(folder)
    call(f"dvc update {WORLD}.dvc", folder)  # nothing has changed there
    assert call("git status --porcelain", folder) == ""

    store.put(brighter(tmp_path / "image.tif"), "imported/image.tif")
    assert ran(call("dvc repro analyze", folder)) == []  # it is looked at when it is asked for
    walk("dvc update data/raw/town.dvc", folder)
    assert ran(walk("dvc repro", folder)) == ["analyze"]
    assert mean(folder) == pytest.approx(dark + 100)
    assert walk.done
