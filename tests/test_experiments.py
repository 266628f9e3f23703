"""Experiments, as a team runs them: from anywhere, in the queue, shared; and what is no parameter is refused."""

import json
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.project import call, commit, digests, environment, ran, small

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # with the pipeline, on busy machines


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small project in which the pipeline has run, and is committed."""
    folder = small(tmp_path_factory.mktemp("small"))
    call("dvc repro", folder)
    commit(folder)
    return folder


@pytest.fixture
def restored(project: Path) -> Iterator[Path]:
    """Return the project, and set back afterwards what a test changes."""
    yield project
    call("git checkout --quiet --force master", project)
    call("dvc checkout --quiet --force", project)


def tried(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    settings = {**environment(), **variables}
    return subprocess.run(words, cwd=folder, env=settings, capture_output=True, text=True, check=False)


def experiments(folder: Path) -> Mapping[str, Any]:
    """Return what `dvc exp show` knows of the experiments, by name."""
    rows = json.loads(call("dvc exp show --json", folder))
    return {e["name"]: e["revs"][0]["data"] for row in rows for e in row["experiments"] or []}


def everything(folder: Path) -> dict[str, dict[str, str]]:
    return {name: digests(folder / name) for name in ("data", "models", "metrics")}


def parameters(experiment: Mapping[str, Any]) -> Any:
    return experiment["params"]["params.yaml"]["data"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("-S lrr=0.1", ["lrr"]),  # by DVC itself
        ("-S +note=good", ["note: there is no such key"]),  # which no stage takes
        ("-S +train.clipp=0.1", ["train.clipp: there is no such key", "did you mean 'clip'?"]),
        ("-S lr=fast", ["lr: Input should be a valid number", 'got: "fast"']),
        (
            "-S bundle.title=7 -S lr=-1",
            ["lr: Input should be greater than 0", "also bundle.title: Input should be a valid"],
        ),
        ("-S chip.chip_size=16 -S lr=1e3x", ["lr: Input should be a valid number", 'got: "1e3x"']),
        ("-S task.kind=segmentation", ["task: Input tag 'segmentation'", "'semantic_segmentation'"]),
        ("--temp -S lr=fast", ["lr: Input should be a valid number"]),
    ],
)
def test_what_is_no_parameter_is_refused_before_anything_is_computed(
    restored: Path, settings: str, words: list[str]
) -> None:
    before = everything(restored)
    done = tried(f"dvc exp run {settings}", restored)
    printed = done.stdout + done.stderr
    assert done.returncode != 0
    assert ran(printed) == []
    assert "Traceback" not in printed
    for word in words:
        assert word in printed
    assert everything(restored) == before
    assert experiments(restored) == {}


@pytest.mark.parametrize("where", ["a detached HEAD", "a machine that knows no user"])
def test_an_experiment_runs_from(where: str, restored: Path, tmp_path: Path) -> None:
    variables = dict[str, str]()
    if where == "a detached HEAD":
        call("git checkout --quiet --detach", restored)
    else:
        variables = {"HOME": str(tmp_path), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    name = where.replace(" ", "-").lower()
    done = tried(f"dvc exp run -n {name} -S 'bundle.title={where}'", restored, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ran(done.stdout + done.stderr) == ["bundle"]
    assert parameters(experiments(restored)[name])["bundle"]["title"] == where
    call(f"dvc exp remove {name}", restored)


def test_the_same_parameters_give_the_same_to_the_last_digit(restored: Path) -> None:
    before = {name: digests(restored / name) for name in ("metrics", "models/model", "data/predictions")}
    assert ran(call("dvc repro --force --single-item train", restored)) == ["train"]
    assert ran(call("dvc repro --force --single-item predict", restored)) == ["predict"]
    assert {name: digests(restored / name) for name in before} == before
    assert call("git status --porcelain", restored) == ""
