"""The three ways in which teams hold imagery (docs/data.md), walked on an object store."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from quadrat.remotes import Access, set_remote
from tests.project import call, change, commit, digests, environment, ran, small
from tests.stores import Store, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # with the pipeline, on busy machines

WORLD = "data/raw/world"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with running(tmp_path_factory.mktemp("store") / "data") as found:
        yield found


@pytest.fixture(autouse=True)
def reached(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment say where the store is, and who asks, as DVC takes it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, store.environment[name])


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
    folder = small(tmp_path / "one")  # with `dvc add data/raw/world`
    set_remote(folder, "s3://dvc/raw", Access(store.endpoint, store.key, store.secret))
    call("dvc repro analyze", folder)
    commit(folder)
    call("dvc push", folder)
    before, dark = digests(folder / WORLD), mean(folder)

    brighter(folder / WORLD / "image.tif")
    call(f"dvc add {WORLD}", folder)
    assert ran(call("dvc repro analyze", folder)) == ["analyze"]
    assert mean(folder) == pytest.approx(dark + 100)
    commit(folder)
    call("dvc push", folder)

    other = tmp_path / "two"
    call(f"git clone --quiet {folder} {other}", tmp_path)
    set_remote(other, "s3://dvc/raw", Access(store.endpoint, store.key, store.secret))
    call(f"dvc pull {WORLD}.dvc analyze", other)
    assert ran(call("dvc repro analyze", other)) == []
    assert digests(other / WORLD) == digests(folder / WORLD)
    call("git checkout --quiet HEAD~1", other)
    call(f"dvc pull {WORLD}.dvc analyze", other)
    assert digests(other / WORLD) == before
    assert mean(other) == dark


def elsewhere(folder: Path, store: Store, prefix: str) -> Path:
    """Take image, labels and areas of a project to the store, and name them there."""
    catalog = folder / "data/scenes.yaml"
    text = (folder / WORLD / "scenes.yaml").read_text()
    for file in (folder / WORLD).iterdir():
        if file.name != "scenes.yaml":
            text = text.replace(f"{WORLD}/{file.name}", store.put(file, f"{prefix}/{file.name}"))
    catalog.write_text(text)
    call(f"dvc remove {WORLD}.dvc", folder)
    shutil.rmtree(folder / WORLD)
    change(folder, dict.fromkeys(("scenes", "raw", "aoi"), "data/scenes.yaml"))
    return folder


def test_imagery_that_stays_in_a_bucket(store: Store, tmp_path: Path) -> None:
    image = small(tmp_path / "one") / WORLD / "image.tif"
    shutil.copy(image, tmp_path / "image.tif")
    folder = elsewhere(tmp_path / "one", store, "stays")
    said = failed("dvc repro", folder)
    assert "PinError: the object is not pinned" in said
    assert "(and 4 more: `quadrat index --check` lists all)" in said
    assert "5 new, 0 changed, 0 dropped" in call("quadrat index", folder)
    assert ran(call("dvc repro", folder)) == ["analyze", "chip", "train", "predict", "eval", "bundle"]
    assert (folder / "data/analysis/warnings.txt").read_text() == ""
    commit(folder)
    assert ran(call("dvc repro", folder)) == []
    dark = mean(folder)

    store.put(brighter(tmp_path / "image.tif"), "stays/image.tif")
    assert ran(call("dvc repro", folder)) == []  # nothing runs, so nothing is read
    assert "1 changed" in failed("quadrat index --check", folder)
    assert "the object is another than is pinned" in failed("quadrat check", folder)
    for stage in ("analyze", "chip", "predict", "eval"):
        said = failed(f"quadrat {stage}", folder)
        assert "PinError: the object is another than is pinned\n  scene: " in said
        assert "  file: s3://imagery/stays/image.tif\n  expected: etag " in said
    assert call("dvc status", folder).strip() == "Data and pipelines are up to date."  # and nothing is written

    assert "changed s3://imagery/stays/image.tif" in call("quadrat index", folder)
    assert ran(call("dvc repro chip", folder)) == ["analyze", "chip"]
    assert mean(folder) == pytest.approx(dark + 100)
    call("git checkout --quiet data/pins.json", folder)  # what was pinned isn't in the bucket any more
    assert "another than is pinned" in failed("quadrat check", folder)


def test_imagery_that_is_imported(store: Store, tmp_path: Path) -> None:
    folder = small(tmp_path / "one")
    shutil.copy(folder / WORLD / "image.tif", tmp_path / "image.tif")
    for file in (folder / WORLD).iterdir():
        store.put(file, f"imported/{file.name}")
    call(f"dvc remove {WORLD}.dvc", folder)
    shutil.rmtree(folder / WORLD)
    call(f"dvc import-url s3://imagery/imported {WORLD}", folder)
    assert ran(call("dvc repro analyze", folder)) == ["analyze"]
    commit(folder)
    dark = mean(folder)
    call(f"dvc update {WORLD}.dvc", folder)  # nothing has changed there
    assert call("git status --porcelain", folder) == ""

    store.put(brighter(tmp_path / "image.tif"), "imported/image.tif")
    assert ran(call("dvc repro analyze", folder)) == []  # it is looked at when it is asked for
    call(f"dvc update {WORLD}.dvc", folder)
    assert ran(call("dvc repro analyze", folder)) == ["analyze"]
    assert mean(folder) == pytest.approx(dark + 100)
