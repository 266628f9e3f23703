"""A remote on a real object store: what works, and what is told in words where it fails."""

import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from quadrat.team.remote import Access, set_remote
from quadrat.team.remote_probe import probe
from tests.project import bare, call, commit, environment
from tests.stores import Store
from tests.team.test_remote import failed, quadrat


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return bare(tmp_path, monkeypatch)


def test_a_team_shares_a_bucket(store: Store, project: Path, tmp_path: Path) -> None:
    arguments = ["remote", "s3://dvc/team", "--endpoint", store.endpoint, "--key", store.key]
    assert quadrat(arguments, project, given=store.secret).returncode == 0
    (project / "image.tif").write_bytes(b"pixels")
    call("dvc add image.tif", project)
    call("dvc push", project)
    commit(project)
    assert store.secret not in call("git log -p", project)
    call(f"git clone --quiet {project} {tmp_path / 'other'}", tmp_path)
    assert quadrat(arguments, tmp_path / "other", given=store.secret).returncode == 0
    call("dvc pull", tmp_path / "other")
    assert (tmp_path / "other/image.tif").read_bytes() == b"pixels"
    assert call("git status --porcelain", tmp_path / "other") == ""  # the address was there already


@pytest.mark.parametrize("damage", [lambda whole: whole[:-1], lambda whole: b"P" + whole[1:]], ids=["cut", "altered"])
def test_a_damaged_object_is_refused_and_fetched_when_it_is_repaired(
    store: Store, project: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    call("dvc remote modify --unset storage verify", project)  # a remote of before
    set_remote(project, f"s3://dvc/{tmp_path.name}", Access(store.endpoint, store.key, store.secret))
    (project / "image.tif").write_bytes(b"pixels")
    call("dvc add image.tif", project)
    call("dvc push", project)
    (address,) = store.system().find(f"dvc/{tmp_path.name}")
    store.system().pipe(address, damage(b"pixels"))
    shutil.rmtree(project / ".dvc/cache")
    (project / "image.tif").unlink()
    pulled = subprocess.run(
        ["dvc", "pull"], cwd=project, env=environment(), capture_output=True, text=True, check=False
    )
    assert pulled.returncode != 0
    assert not (project / "image.tif").exists()
    store.system().pipe(address, b"pixels")
    call("dvc pull", project)
    assert (project / "image.tif").read_bytes() == b"pixels"


def test_a_probe_leaves_nothing(store: Store, project: Path) -> None:
    remote = set_remote(project, "s3://dvc/probed", Access(store.endpoint, store.key, store.secret))
    assert probe(remote).startswith(f"remote 'storage' (s3://dvc/probed at {store.endpoint}): list, write, read")
    store.system().pipe("dvc/probed/files/md5/ab/cd", b"object")
    probe(remote)
    assert store.system().find("dvc/probed") == ["dvc/probed/files/md5/ab/cd"]


@pytest.mark.parametrize(
    ("bucket", "key", "secret", "words"),
    [
        ("dvc", "quadrat", "wrong", ["the secret is not that of key 'quadrat'", "SignatureDoesNotMatch"]),
        ("dvc", "nobody", "wrong", ["the server knows no key 'nobody'", "InvalidAccessKeyId"]),
        ("dvc", None, None, ["there are no credentials for bucket 'dvc'", "AWS_ACCESS_KEY_ID"]),
        ("none", "quadrat", "of-the-tests", ["there is no bucket 'none'", "NoSuchBucket"]),
        ("dvc", "reader", "of-the-tests", ["key 'reader' of .dvc/config.local may not write in bucket 'dvc'",
                                           "s3:PutObject", "dvc pull works, dvc push does not"]),
    ],
)  # fmt: skip
def test_a_store_that_refuses(
    store: Store, project: Path, bucket: str, key: str | None, secret: str | None, words: list[str]
) -> None:
    said = failed(project, f"s3://{bucket}/team", Access(store.endpoint, key, secret))
    for word in words:
        assert word in said


def test_the_key_of_the_environment_is_named_with_its_place(
    store: Store, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "the server knows no key 'nobody' of env" in failed(project, "s3://dvc/team", Access(store.endpoint))


def test_a_clock_that_is_wrong(store: Store, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import botocore.auth

    real = botocore.auth.get_current_datetime

    def late(*arguments: object, **options: object) -> datetime:
        return real(*arguments, **options) + timedelta(hours=2)

    monkeypatch.setattr(botocore.auth, "get_current_datetime", late)
    said = failed(project, "s3://dvc/team", Access(store.endpoint, store.key, store.secret))
    assert "this machine's clock is wrong" in said
    assert "timedatectl" in said


def test_the_doctor_says_what_is_broken_and_the_hint(store: Store, project: Path) -> None:
    set_remote(project, "s3://dvc/team", Access(store.endpoint, store.key, "wrong"))
    done = quadrat(["doctor"], project)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "remote: `quadrat remote s3://dvc/team --key KEY` asks for the secret" in done.stdout
    set_remote(project, "s3://dvc/team", Access(secret=store.secret))
    done = quadrat(["doctor"], project)
    assert done.returncode == 0, done.stdout
    for word in ("python", "torch", "GDAL", "cores", "free", "git", "dvc", "list, write, read and delete"):
        assert word in done.stdout
    assert store.secret not in done.stdout
