"""A cache that is linked into the workspace is never written through: what was made once stays as it was."""

import shutil
from pathlib import Path

import pytest

from tests.project import call, change, commit, digests, ran, small_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # with the pipeline, on busy machines

MADE = ("data/analysis", "data/chips", "data/predictions", "models/model", "models/baseline", "metrics")

OTHER = {
    "analyze.histogram_bins": 32,
    "chip.windows.count": 14,
    "lr": 0.01,
    "baseline.trees": 5,
    "predict.stride": 16,
    "eval.pictures.longest_side": 64,
    "bundle.title": "another",
}
"""Something else for each stage."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """Return a small project in which the pipeline has run, and is committed."""
    return small_run(tmp_path_factory.mktemp("small"), shared)


def linked(project: Path, to: Path, link: str) -> Path:
    """Return a copy of the project whose files are links to its cache."""
    folder = to / "copy"
    shutil.copytree(project, folder, symlinks=True)
    call(f"dvc config --local cache.type {link}", folder)
    call("dvc checkout --relink", folder)
    model = folder / "models/model/model.safetensors"
    assert model.is_symlink() if link == "symlink" else model.stat().st_nlink == 2
    return folder


def made(folder: Path) -> dict[str, str]:
    found = {f"{name}/{file}": digest for name in MADE for file, digest in digests(folder / name).items()}
    return {**found, **digests(folder / "models/bundle.zip")}


def cached(folder: Path) -> dict[str, str]:
    return digests(folder / ".dvc/cache/files")


@pytest.mark.parametrize("link", ["hardlink", "symlink"])
def test_a_rerun_leaves_what_the_cache_holds(project: Path, link: str, tmp_path: Path) -> None:
    folder = linked(project, tmp_path, link)
    before, kept = made(folder), cached(folder)
    change(folder, OTHER)
    assert ran(call("dvc repro", folder)) == ["analyze", "chip", "train", "predict", "eval", "bundle"]
    after = made(folder)
    assert before.keys() == after.keys()
    assert {name for name in MADE if subset(before, name) == subset(after, name)} == set()
    assert kept.items() <= cached(folder).items()
    commit(folder)
    call("git checkout --quiet HEAD~1", folder)
    call("dvc checkout", folder)
    assert made(folder) == before
    assert call("dvc status", folder).strip() == "Data and pipelines are up to date."


def subset(found: dict[str, str], name: str) -> dict[str, str]:
    return {file: digest for file, digest in found.items() if file.startswith(name)}


@pytest.mark.parametrize("link", ["hardlink", "symlink"])
def test_stages_run_by_hand_leave_what_the_cache_holds(project: Path, link: str, tmp_path: Path) -> None:
    folder = linked(project, tmp_path, link)
    kept = cached(folder)
    change(folder, OTHER)
    for stage in ("analyze", "chip", "train", "predict", "eval", "bundle"):  # DVC takes nothing away before them
        call(f"env PYTHONPATH=src python -m quadrat {stage}", folder)
        assert cached(folder) == kept, stage
