"""A remote is set with one command, and what fails there is told in words: on a real object store."""

import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quadrat.errors import RemoteError
from quadrat.team import doctor
from quadrat.team.remote import Access, Remote, default_remote, set_remote
from quadrat.team.remote_probe import probe
from tests.project import ROOT, bare, call, commit, environment


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return bare(tmp_path, monkeypatch)


def quadrat(arguments: list[str], folder: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "quadrat", *arguments]
    paths = {**environment(), "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=folder, env=paths, input=given, capture_output=True, text=True, check=False)


def shared(folder: Path) -> str:
    return (folder / ".dvc/config").read_text()


def own(folder: Path) -> str:
    return (folder / ".dvc/config.local").read_text()


def test_the_address_is_shared_and_the_rest_stays_here(project: Path) -> None:
    before = shared(project)
    arguments = ["remote", "s3://team/ground/", "--endpoint", "http://store:9000", "--key", "me"]
    for _ in range(2):
        done = quadrat(arguments, project / ".dvc", given="hush\n")  # from a subfolder
        assert done.returncode == 0, done.stderr
        assert done.stdout == "remote 'storage' (s3://team/ground at http://store:9000)\n"
        assert shared(project) == before.replace("url = remote", "url = s3://team/ground")
        assert "jobs = 4" in shared(project)
        lines = {line.strip() for line in own(project).splitlines()}
        access = {"endpointurl = http://store:9000", "access_key_id = me", "secret_access_key = hush"}
        assert lines == {"['remote \"storage\"']", *access}
    assert stat.S_IMODE((project / ".dvc/config.local").stat().st_mode) == 0o600
    assert call("git status --porcelain", project) == " M .dvc/config\n"


def test_what_is_not_given_stays_and_what_is_empty_goes(project: Path) -> None:
    set_remote(project, "s3://team/ground", Access("http://store:9000", "me", "hush"))
    remote = set_remote(project, "s3://other", Access())
    assert (remote.url, remote.settings["endpointurl"]) == ("s3://other", "http://store:9000")
    remote = set_remote(project, "s3://other", Access(endpoint="", profile="team"))
    assert "endpointurl" not in own(project)
    assert (remote.settings["access_key_id"], remote.settings["profile"]) == ("me", "team")


def test_a_folder_needs_no_access(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_remote(project, "s3://team/ground", Access("http://store:9000", "me", "hush"))
    monkeypatch.chdir(project)
    remote = set_remote(Path(), "../shared", Access())
    assert remote.url == str(tmp_path / "shared")
    assert own(project).strip() == ""
    assert "jobs = 4" in shared(project)
    assert probe(remote).startswith(f"remote 'storage' ({tmp_path}/shared): list, write, read and delete in ")
    assert list((tmp_path / "shared").iterdir()) == []
    assert "url = ../../shared" in shared(project)  # from .dvc on, also in a clone beside this one


@pytest.mark.parametrize(
    ("address", "endpoint", "expected"),
    [
        ("s3://", None, "s3://bucket/prefix, or a folder"),
        ("s3://Big_Bucket/a", None, "s3://bucket/prefix, or a folder"),
        ("s3://key:secret@bucket/a", None, "s3://bucket/prefix, or a folder"),
        ("gs://bucket/a", None, "s3://bucket/prefix, or a folder"),
        ("s3://bucket/a", "127.0.0.1:9000", "https://host or http://host:port"),
        ("s3://bucket/a", "https://me:hush@host", "https://host or http://host:port"),
    ],
)
def test_what_is_no_address_changes_nothing(project: Path, address: str, endpoint: str | None, expected: str) -> None:
    before = shared(project)
    with pytest.raises(RemoteError, match=f"expected: {expected}"):
        set_remote(project, address, Access(endpoint))
    assert shared(project) == before
    assert not (project / ".dvc/config.local").exists()


def test_outside_of_a_project(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match=r"no DVC project(.|\n)*hint: go to its folder"):
        default_remote(tmp_path)


def test_with_no_remote_set_push_and_pull_go_to_a_folder_of_the_checkout(project: Path) -> None:
    (project / "image.tif").write_bytes(b"pixels")
    call("dvc add image.tif", project)
    assert call("dvc push", project).startswith("1 file pushed")
    shutil.rmtree(project / ".dvc/cache")
    (project / "image.tif").unlink()
    call("dvc pull", project)
    assert (project / "image.tif").read_bytes() == b"pixels"
    commit(project)
    assert not any(".dvc/remote" in line for line in call("git ls-files", project).splitlines())


def test_doctor_says_of_a_remote_that_what_it_gives_is_not_checked(project: Path) -> None:
    assert doctor._remote(project).state == "good"
    call("dvc remote modify storage verify false", project)
    finding = doctor._remote(project)
    assert finding.state == "note"
    assert "are not checked" in finding.found
    assert finding.hint is not None
    assert finding.hint.startswith("dvc remote modify storage verify true")
    call(" ".join(finding.hint.partition(",")[0].split()), project)
    assert doctor._remote(project).state == "good"


def failed(project: Path, address: str, access: Access) -> str:
    """Return what is said of a remote that fails, which takes seconds, not minutes."""
    remote = set_remote(project, address, access)
    started = time.monotonic()
    with pytest.raises(RemoteError) as caught:
        probe(remote)
    assert time.monotonic() - started < 20
    said = str(caught.value)
    assert said.startswith(f"{remote}: ")
    assert "hint: " in said
    assert access.secret is None or access.secret not in said
    return said


def test_a_server_that_is_down(project: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    said = failed(project, "s3://dvc/team", Access(endpoint, "me", "hush"))
    assert "no server answers" in said
    assert endpoint in said


def test_a_server_that_takes_the_connection_and_says_nothing(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert "no server answers" in failed(project, "s3://dvc/team", Access(endpoint, "me", "hush"))


def test_a_folder_that_is_a_file(project: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").touch()
    assert "check that the folder is there" in failed(project, str(tmp_path / "shared"), Access())


def test_other_kinds_of_remotes_are_not_tried() -> None:
    with pytest.raises(RemoteError, match=r"'r' \(ssh://host/a\) is of a kind that can't be tested"):
        probe(Remote("r", "ssh://host/a", {}))


def found(about: str, project: Path) -> doctor.Finding:
    return getattr(doctor, f"_{about}")(project)


def test_the_doctor_on_git(project: Path, tmp_path: Path) -> None:
    assert found("git", tmp_path).state == "broken"
    assert (found("git", project).state, found("git", project).found[7:]) == ("good", " on master, all committed")
    (project / "new").touch()
    assert (found("git", project).state, found("git", project).found[-14:]) == ("note", "1 files differ")
    call("git checkout --quiet --detach", project)
    assert "on (detached)" in found("git", project).found
    call("git init --quiet fresh", tmp_path)
    assert found("git", tmp_path / "fresh").found == "no commit yet"


def test_the_doctor_on_dvc(project: Path) -> None:
    assert found("dvc", project).state == "good"
    (project / "image.tif").write_bytes(b"pixels")
    call("dvc add image.tif", project)
    (project / "image.tif").write_bytes(b"others")
    assert found("dvc", project).found == "out of date: image.tif.dvc"
    (project / ".dvc/tmp/rwlock").write_text("")  # DVC was killed when it was about to write this file
    broken = found("dvc", project)
    assert (broken.state, "delete .dvc/tmp/rwlock" in str(broken.hint)) == ("broken", True)
    (project / ".dvc/tmp/rwlock").unlink()
    (project / "dvc.yaml").write_text("stages: [")
    broken = found("dvc", project)
    assert broken.state == "broken"
    assert "dvc.yaml" in broken.found


def test_the_doctor_on_packages(project: Path) -> None:
    assert found("packages", project).state == "good"
    (project / "constraints.txt").write_text("# pins\ntorch==1.0\nnot-installed==2.0\n")
    note = found("packages", project)
    assert note.state == "note"
    assert "(pinned: 1.0)" in note.found
    assert "not-installed" not in note.found


def test_the_doctor_on_a_full_disk(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("disk", project).state == "good"
    monkeypatch.setattr(doctor, "ROOM", 1e18)
    assert "dvc gc" in str(found("disk", project).hint)


def test_settings_that_dvc_refuses(project: Path) -> None:
    (project / ".dvc/config").write_text("[core]\nremote = gone\n")
    assert "DVC's settings can't be read" in found("remote", project).found
    (project / ".dvc/config").write_text("[core]\n")
    assert found("remote", project).state == "note"
