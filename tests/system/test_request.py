"""What a job does for a request, with an S3 server and on a fork: the page that would be posted is read.

A workflow can't be run in a test. So its steps are scripts, which are run here.
"""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from quadrat.evaluation.score_tables import read_scores
from quadrat.team.remote import Access, set_remote
from quadrat.team.report import MARK
from tests.project import call, change, commit, environment, ran, small_run
from tests.stores import Store

AT = "https://example.org/reports/7"


class Done(NamedTuple):
    status: int
    printed: str


class Request(NamedTuple):
    """A job's clone after it has run a request's pipeline, and what it printed."""

    folder: Path
    done: Done
    page: str


def run(command: str, folder: Path, **variables: str) -> Done:
    settings = {name: value for name, value in environment().items() if not name.startswith("AWS_")}
    done = subprocess.run(
        shlex.split(command), cwd=folder, env={**settings, **variables}, capture_output=True, text=True, check=False
    )
    return Done(done.returncode, done.stdout + done.stderr)


def secrets(store: Store) -> dict[str, str]:
    """Return what a job has of the store."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL")
    return {name: store.environment[name] for name in names}


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, store: Store, shared: Path) -> Path:
    """Return the team's repository: ``main`` has run and is pushed; ``faster`` asks for shallower trees."""
    folder = small_run(tmp_path_factory.mktemp("member"), shared)
    set_remote(folder, "s3://dvc/ci", Access(store.endpoint, store.key, store.secret))
    commit(folder)
    call("dvc push", folder)
    bare = tmp_path_factory.mktemp("origin") / "project.git"
    call(f"git init --quiet --bare --initial-branch main {bare}", folder)
    call(f"git remote add origin {bare}", folder)
    call("git push --quiet origin HEAD:main", folder)
    call("git checkout --quiet -b faster", folder)
    change(folder, {"model.max_depth": 1})
    commit(folder)
    call("git push --quiet origin faster", folder)
    return bare


@pytest.fixture(scope="module")
def request_(tmp_path_factory: pytest.TempPathFactory, store: Store, origin: Path) -> Request:
    """Return a job's clone, with git and the store's key alone, after its step."""
    folder = tmp_path_factory.mktemp("job") / "clone"
    call(f"git clone --quiet {origin} {folder}", origin)
    call("git checkout --quiet --detach origin/faster", folder)
    done = run("scripts/experiment run origin/main faster", folder, PICTURES_AT=AT, **secrets(store))
    return Request(folder, done, (folder / "report/report.md").read_text())


@pytest.fixture
def fork(tmp_path: Path, origin: Path, request_: Request) -> Path:
    """Return the clone of a job without secrets, of the request as it is after it has run."""
    assert request_.done.status == 0
    call(f"git clone --quiet {origin} {tmp_path / 'fork'}", origin)
    call("git checkout --quiet --detach origin/faster", tmp_path / "fork")
    return tmp_path / "fork"


def table(page: str, first: str) -> list[list[str]]:
    """Return the rows of the table whose heading begins so."""
    lines = page.partition(f"| {first} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def committed(folder: Path, revision: str, name: str) -> Any:
    return json.loads(call(f"git show {revision}:{name}", folder))


def test_what_has_changed_runs_and_nothing_else(request_: Request) -> None:
    assert request_.done.status == 0, request_.done.printed
    assert ran(request_.done.printed) == ["train", "predict", "eval", "bundle"]


def test_the_page_tells_parameters_and_metrics(request_: Request) -> None:
    page = request_.page
    assert page.startswith(f"{MARK}\n## this change (`")
    assert " against main (`" in page
    assert "stale" not in page
    assert table(page, "parameter") == [["model.max\\_depth", "6", "1"]]
    old, new = (committed(request_.folder, rev, "metrics/eval.json") for rev in ("origin/main", "HEAD"))
    told = {row[0].replace("\\", ""): row[1:] for row in table(page, "metric")}
    for name in ("accuracy", "macro_f1"):
        one, other = old["overall"][name], new["overall"][name]
        assert told[f"eval: overall.{name}"] == [str(one), str(other), f"{other - one:+.4g}"]
    assert not any(name.startswith("analyze: ") for name in told)
    file = "metrics/plots/class_scores.csv"
    old, new = (read_scores(call(f"git show {rev}:{file}", request_.folder)) for rev in ("origin/main", "HEAD"))
    worse = [name for name in ("wood", "lake", "field") if new[name]["f1"] != old[name]["f1"]]
    assert [row[0] for row in table(page, "class")] == worse != []


def test_the_page_tells_who_is_taken_for_whom(request_: Request) -> None:
    counts = pd.read_csv(request_.folder / "metrics/plots/confusion.csv")
    pairs = counts.pivot_table(index="truth", columns="predicted", values="count", sort=False)
    shares = (100 * pairs.div(pairs.sum(axis=1), axis=0)).round()
    for name, *cells in table(request_.page, "truth"):
        expected = shares.loc[name.strip("*")]
        for cell, share in zip(cells, expected, strict=True):
            assert cell.split()[0] == ("–" if pd.isna(share) else f"{share:.0f}")


def test_pictures_stand_side_by_side(request_: Request) -> None:
    pictures = request_.folder / "report/pictures"
    rows = table(request_.page.partition("### Predictions")[2], "scene")
    for scene, *cells in rows:
        files = [f"{scene}-before.png", f"{scene}-after.png"]
        assert cells == [f"![{scene}]({AT}/pictures/{file})" for file in files]
        before, after = ((pictures / file).read_bytes() for file in files)
        assert before != after
        assert after == (request_.folder / f"metrics/pictures/{scene}.png").read_bytes()
    assert {row[0] for row in rows} <= {"m", "e", "all"}
    assert rows


def test_another_clone_gets_what_the_job_has_made(request_: Request, fork: Path, store: Store) -> None:
    assert call("git log -1 --format=%s", fork).strip() == "Run the pipeline"
    set_remote(fork, "s3://dvc/ci", Access(store.endpoint, store.key, store.secret))
    call("dvc pull", fork)
    assert call("dvc status", fork).strip() == "Data and pipelines are up to date."
    model = "models/model/model.safetensors"
    assert (fork / model).read_bytes() == (request_.folder / model).read_bytes()


def test_a_second_run_has_nothing_to_do_and_pulls_no_more_than_pictures(
    fork: Path, store: Store, request_: Request
) -> None:
    done = run("scripts/experiment run origin/main faster", fork, PICTURES_AT=AT, **secrets(store))
    assert done.status == 0, done.printed
    assert ran(done.printed) == []
    assert not (fork / "data/chips").exists()
    assert not (fork / "models/model").exists()
    same = [re.sub(r"`\w{7}`", "", page) for page in ((fork / "report/report.md").read_text(), request_.page)]
    assert same[0] == same[1]


def test_a_fork_compares_what_is_committed(fork: Path, request_: Request) -> None:
    done = run("scripts/experiment compare origin/main", fork)
    assert done.status == 0, done.printed
    assert "dvc.lock is up to date" in done.printed
    page = (fork / "report/report.md").read_text()
    for first in ("parameter", "metric", "class", "truth"):
        assert table(page, first) == table(request_.page, first)
    assert "### Predictions" not in page


def test_a_fork_is_told_what_it_has_not_run(fork: Path) -> None:
    change(fork, {"model.max_depth": 2})
    commit(fork)
    done = run("scripts/experiment compare origin/main", fork)
    assert done.status == 1
    assert "stage 'train' is not as dvc.lock says:\n  params.yaml: model.max_depth: expected 1, got 2" in done.printed
    page = (fork / "report/report.md").read_text()
    assert "**`dvc.lock` is stale** (params, train, eval, bundle)" in page
    assert table(page, "parameter") == [["model.max\\_depth", "6", "2"]]


def test_a_pipeline_that_fails_fails_the_job_but_reports(fork: Path, store: Store) -> None:
    change(fork, {"lr": "fast"})
    commit(fork)
    before = call("git rev-parse origin/faster", fork)
    done = run("scripts/experiment run origin/main faster", fork, **secrets(store))
    assert done.status != 0
    assert "lr: Input should be a valid number" in done.printed
    assert "stale" in (fork / "report/report.md").read_text()
    assert call("git ls-remote origin faster", fork).split()[0] == before.strip()


def test_pictures_of_another_remote_are_told_to_be_missing(fork: Path, tmp_path: Path) -> None:
    call(f"dvc remote modify --local storage url {tmp_path / 'empty'}", fork)
    done = run("quadrat report origin/main", fork, PYTHONPATH="src")
    assert done.status == 0, done.printed
    page = (fork / "report/report.md").read_text()
    for name in ("main", "this change"):
        assert f"The pictures of {name} can't be fetched from the remote" in page
