"""A cache that is linked into the workspace is never written through: what was made once stays as it was."""

from pathlib import Path

from tests.project import call, change, commit, digests, here, ran

MADE = ("data/analysis", "data/chips", "data/predictions", "models/model", "models/baseline", "metrics")
STAGES = ["analyze", "chip", "train", "predict", "eval", "bundle"]

OTHER = {
    "analyze.histogram_bins": 32,
    "chip.windows.count": 50,
    "model.trees": 5,
    "baseline.trees": 5,
    "predict.stride": 16,
    "eval.pictures.longest_side": 64,
    "bundle.title": "another",
}
"""Something else for each stage."""


def linked(folder: Path, link: str) -> Path:
    """Make the project's files links to its cache."""
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


def test_a_rerun_leaves_what_the_cache_holds(project: Path) -> None:
    folder = linked(project, "hardlink")
    before, kept = made(folder), cached(folder)
    change(folder, OTHER)
    assert ran(call("dvc repro", folder)) == STAGES
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


def test_stages_run_by_hand_leave_what_the_cache_holds(project: Path) -> None:
    """By symbolic links: what would write through a hard link writes through them, and so does who resolves paths."""
    folder = linked(project, "symlink")
    kept = cached(folder)
    change(folder, OTHER)
    for stage in STAGES:  # before which DVC takes nothing away
        here(stage, folder)
    assert cached(folder) == kept
