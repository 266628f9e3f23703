"""What a server has alone: its folder of jobs, and the bundle as it was when the server started."""

from pathlib import Path

import pytest

from quadrat.errors import QuadratError
from quadrat.server.jobs.own import owned
from quadrat.server.jobs.runner import Jobs, Runs
from quadrat.server.limits import Limits
from quadrat.server.service import default_place
from tests.project import until


def sent(jobs: Jobs) -> str:
    folder = jobs.store.room()
    return jobs.add(folder, {"file": "image.tif", "id": "image", "options": [], "form": "tif", "layer": "labels"}).id


def test_servers_of_one_cache_have_jobs_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"bundle")
    place = default_place(tmp_path / "cache", 1 << 20)
    with owned(place, tmp_path / "model.zip") as (first, _):
        with owned(place, tmp_path / "model.zip") as (second, _):
            assert (first.jobs.name, second.jobs.name) == ("jobs", "jobs-2")
        assert first.cache == place.cache
    with owned(place, tmp_path / "model.zip") as (later, _):
        assert later.jobs == first.jobs


def test_a_bundle_that_is_replaced_changes_nothing(tmp_path: Path) -> None:
    bundle = tmp_path / "model.zip"
    bundle.write_bytes(b"old")
    with owned(default_place(tmp_path / "cache", 1 << 20), bundle) as (_, copy):
        bundle.write_bytes(b"new")
        assert (copy.name, copy.read_bytes()) == ("model.zip", b"old")
    with owned(default_place(tmp_path / "cache", 1 << 20), bundle) as (_, copy):
        assert copy.read_bytes() == b"new"


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"bundle")
    (tmp_path / "file").touch()
    with (
        pytest.raises(QuadratError, match="the cache folder can't be written"),
        owned(default_place(tmp_path / "file" / "cache", 1 << 20), tmp_path / "model.zip"),
    ):
        pass


def test_jobs_of_another_bundle_are_not_run(tmp_path: Path) -> None:
    before = Jobs(tmp_path / "jobs", Runs(tmp_path / "bundle.zip", "1"), Limits())
    name = sent(before)
    after = Jobs(tmp_path / "jobs", Runs(tmp_path / "bundle.zip", "2"), Limits())
    after.start()
    until(lambda: after.store.get(name)[1]["status"] == "failed", 10)
    after.close()
    assert "another bundle" in after.store.get(name)[1]["message"]


def test_a_job_whose_state_cannot_be_written_fails_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quadrat.server.jobs import runner, store

    commands: list[list[str]] = []

    def popen(command: list[str], **_: object) -> None:
        commands.append(command)
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(runner.subprocess, "Popen", popen)
    jobs = Jobs(tmp_path / "jobs", Runs(tmp_path / "bundle.zip", "1"), Limits())
    first, plain = sent(jobs), store.write_json

    def full(path: Path, content: object, **options: bool) -> None:
        if path.parent.name == first:
            raise OSError(28, "No space left on device")
        plain(path, content, **options)

    monkeypatch.setattr(store, "write_json", full)
    second = sent(jobs)
    jobs.start()
    until(lambda: jobs.counts()["failed"] == 2, 10)
    jobs.close()
    assert any(second in word for word in commands[0])
    assert len(commands) == 1


def test_jobs_run_as_the_server_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from quadrat.server.jobs import runner

    commands: list[list[str]] = []

    def popen(command: list[str], **_: object) -> None:
        commands.append(command)
        raise KeyError

    monkeypatch.setattr(runner.subprocess, "Popen", popen)
    jobs = Jobs(tmp_path / "jobs", Runs(tmp_path / "bundle.zip", None, ("--runtime=onnx",)), Limits())
    sent(jobs)
    jobs.start()
    until(lambda: commands, 10)
    jobs.close()
    assert "--runtime=onnx" in commands[0]
