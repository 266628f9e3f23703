"""The pipeline on AWS Batch as moto has it: jobs are processes that know nothing but the object store."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from quadrat.cli import app
from quadrat.cluster import batch
from quadrat.cluster.jobs import FOLDER
from tests.batch import Machines, running
from tests.project import call, commit, digests, environment, here, small_run, until
from tests.stores import Store

LATER = ("data/chips", "data/predictions", "data/manifests", "models/model", "models/baseline")
"""What stages after analyze make."""


@pytest.fixture
def project(tmp_path: Path, shared: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the small project in which nothing but analyze has run, with a remote in the object store."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in store.environment.items():
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3" if name == "AWS_ENDPOINT_URL" else name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("QUADRAT_CACHE", f"s3://dvc/{tmp_path.name}/cache")
    monkeypatch.setenv("PATH", environment()["PATH"])
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    folder = small_run(tmp_path / "project", shared)
    monkeypatch.chdir(folder)
    for place in LATER:
        shutil.rmtree(folder / place)
    shutil.rmtree(folder / ".dvc/cache/runs", ignore_errors=True)
    yaml = YAML()
    lock = yaml.load(folder / "dvc.lock")
    lock["stages"] = {name: lock["stages"][name] for name in ("params", "analyze")}
    yaml.dump(lock, folder / "dvc.lock")
    call(f"dvc remote modify storage url s3://dvc/{tmp_path.name}/data", folder)
    commit(folder)
    return folder


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Path) -> Iterator[Machines]:  # noqa: ARG001 its variables
    with running(tmp_path / "machines", monkeypatch) as found:
        yield found


def states() -> list[str]:
    return [row[2] for row in batch.status(FOLDER)[0]]


def test_the_pipeline_runs_on_it_whoever_fails_or_dies(
    project: Path, machines: Machines, tmp_path: Path, shared: Path
) -> None:
    area = project / "data/raw/world/m.geojson"
    broken = area.read_bytes()[:100]
    area.unlink()
    area.write_bytes(broken)
    call("dvc add --quiet data/raw/world", project)
    commit(project)
    here("submit batch --from chip --parts 2 --tries 1", project)
    until(lambda: machines.idle, 600)
    assert states() == ["1 done, 1 failed", "1 not run", "2 not run", "1 not run"]
    told = CliRunner().invoke(app, ["submit", "status"])
    assert told.exit_code == 1
    assert "chip 2: quadrat/default/" in told.output
    assert "scene: " in told.output
    assert area.name in told.output

    call("git reset --quiet --hard HEAD~1", project)
    call("dvc checkout --quiet data/raw/world.dvc", project)
    here("submit batch --from chip --parts 2", project)
    until(lambda: len(machines.begun) > 5 or machines.idle, 600)
    os.killpg(machines.begun[5].process.pid, signal.SIGKILL)  # a machine of predict dies, as Spot's do
    until(lambda: machines.idle, 600)
    rows, failed = batch.status(FOLDER)
    assert [row[2] for row in rows] == ["2 done", "1 done", "2 done", "1 done"], "\n".join(failed)
    assert machines.begun[5].attempt == 2
    assert "chips: 0 of 1 scenes cut for the shared cache" in here("submit logs chip", project)
    assert "cut again for 0 of 2 scenes" in here("submit logs train", project)  # the parts had cut them

    here("submit fetch", project)
    alone = small_run(tmp_path / "alone", shared)
    for place in ("data/chips", "models/model", "metrics", "data/predictions"):
        assert digests(project / place) == digests(alone / place)
    assert (project / "dvc.lock").read_text() == (alone / "dvc.lock").read_text()
    assert "up to date" in call("dvc status", project)
    here("submit fetch models/model", project)  # again: what came before is undone


def test_what_was_submitted_is_cancelled(project: Path, machines: Machines) -> None:
    here("submit batch --parts 3 --gpu", project)
    until(lambda: machines.begun)
    assert states() == ["1 running", "3 pending", "1 pending", "3 pending", "1 pending"]
    said = CliRunner().invoke(app, ["submit", "batch"]).output
    assert "jobs that were submitted before have not ended" in said
    assert "cancelled" in here("submit cancel", project)
    until(lambda: machines.idle, 600)
    assert states() == [f"{parts} cancelled" for parts in (1, 3, 1, 3, 1)]
    assert len(machines.begun) == 1
