"""``quadrat check --lock`` finds stale what DVC finds so, but without data: in a project of three small stages."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.repo import Repo
from typer.testing import CliRunner

from quadrat.cli import app
from quadrat.errors import LockError
from quadrat.team.lockfile import Difference, differences, lines
from tests.project import call, commit

PIPELINE = """
stages:
  cut:
    cmd: python cut.py
    params: [cut]
    deps: [cut.py, 'kinds/${cut.kind}.py', areas, data/raw, catalog.yaml]
    outs: [data/cut]
  learn:
    cmd: python learn.py
    params: [lr]
    deps: [learn.py, data/cut]
    outs: [model.bin]
    metrics: [{metrics/learn.json: {cache: false}}]
  judge:
    cmd: python judge.py
    deps: [judge.py, model.bin, metrics/learn.json]
    metrics: [{metrics/judge.json: {cache: false}}]
"""

FILES = {
    "dvc.yaml": PIPELINE,
    "params.yaml": "lr: 1e-05\ncut: {kind: one, sizes: [1, 2], unused: null}\n",
    "catalog.yaml": "scenes: []\n",
    "areas/west.geojson": "{}",
    "areas/east.geojson": "{}",
    "kinds/one.py": "",
    "kinds/two.py": "",
    "data/raw/image.bin": "pixels",
    "cut.py": "from pathlib import Path\nPath('data/cut').mkdir()\nPath('data/cut/0').write_text('chips')\n",
    "learn.py": "from pathlib import Path\nPath('model.bin').write_text('weights')\n"
    "Path('metrics').mkdir(exist_ok=True)\nPath('metrics/learn.json').write_text('{\"loss\": 1}')\n",
    "judge.py": "from pathlib import Path\nPath('metrics/judge.json').write_text('{\"f1\": null}')\n",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project that has run and is committed, with all its data."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    call("git init --quiet", folder)
    call("dvc init --quiet", folder)
    call("dvc add --quiet data/raw", folder)
    call("dvc repro --quiet", folder)
    commit(folder)
    return folder


@pytest.fixture
def fork(project: Path, tmp_path: Path) -> Path:
    """Return what someone gets who has git alone: no data, no cache, no remote."""
    call(f"git clone --quiet {project} {tmp_path / 'fork'}", project)
    return tmp_path / "fork"


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return apply


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


CHANGES = {
    "a parameter": (edit("params.yaml", "1e-05", "0.01"), {("learn", "params.yaml: lr", "1e-05", "0.01")}),
    "one of several": (
        edit("params.yaml", "[1, 2]", "[1, 3]"),
        {("cut", "params.yaml: cut.sizes.1", "2", "3")},
    ),
    "a new parameter": (
        edit("params.yaml", "unused: null", "unused: null, more: a"),
        {("cut", "params.yaml: cut.more", "none", '"a"')},
    ),
    "a parameter that is gone": (edit("params.yaml", "lr: 1e-05", ""), {("learn", "params.yaml: lr", "1e-05", "none")}),
    "a module": (edit("learn.py", "weights", "other"), {("learn", "learn.py", "md5 ", "md5 ")}),
    "the module of a kind": (write("kinds/one.py", "1"), {("cut", "kinds/one.py", "md5 ", "md5 ")}),
    "the kind": (
        edit("params.yaml", "one", "two"),
        {("cut", "params.yaml: cut.kind", '"one"', '"two"'), ("cut", "kinds/two.py", "none", "md5 ")},
    ),
    "a module that is gone": (remove("judge.py"), {("judge", "judge.py", "md5 ", "none")}),
    "the catalog": (write("catalog.yaml", "scenes: [a]\n"), {("cut", "catalog.yaml", "md5 ", "md5 ")}),
    "an area": (write("areas/north.geojson", "{}"), {("cut", "areas", "md5 ", "md5 ")}),
    "a command": (
        edit("dvc.yaml", "cmd: python judge.py", "cmd: python -O judge.py"),
        {("judge", "cmd", "the command in dvc.lock", "python -O judge.py")},
    ),
    "figures by hand": (
        write("metrics/judge.json", '{"f1": 1}'),
        {("judge", "metrics/judge.json", "md5 ", "md5 ")},
    ),
    "figures that are gone": (remove("metrics/judge.json"), {("judge", "metrics/judge.json", "md5 ", "none")}),
    "a new dependency": (
        edit("dvc.yaml", "[judge.py,", "[judge.py, catalog.yaml,"),
        {("judge", "catalog.yaml", "none", "md5 ")},
    ),
    "a new output": (edit("dvc.yaml", "[model.bin]", "[model.bin, log]"), {("learn", "log", "none", "none")}),
    "no lock": (
        remove("dvc.lock"),
        {(stage, "dvc.lock", "the stage", "none") for stage in ("cut", "learn", "judge")},
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_named_with_its_stage(change: str, fork: Path) -> None:
    apply, expected = CHANGES[change]
    apply(fork)
    found = differences(fork)
    cut = {(d.stage, d.about, *(w[:4] if w.startswith("md5 ") else w for w in (d.expected, d.got))) for d in found}
    assert cut == expected
    assert not (fork / "data/raw").exists()


@pytest.mark.parametrize("change", CHANGES)
def test_stages_are_stale_that_dvc_finds_so_where_all_data_is(change: str, project: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(project, tmp_path / "copy", symlinks=True)
    assert differences(folder) == []
    CHANGES[change][0](folder)
    with Repo(folder) as repo:
        stale = {name.rpartition(":")[2] for name in repo.status()}
    assert {one.stage for one in differences(folder)} == stale


def test_raw_data_of_another_checksum_is_another_input(fork: Path) -> None:
    file = fork / "data/raw.dvc"
    digest = file.read_text().partition("md5: ")[2].partition("\n")[0]
    file.write_text(file.read_text().replace(digest, "0" * 32 + ".dir"))
    (found,) = differences(fork)
    assert (found.stage, found.about, found.got) == ("cut", "data/raw", "md5 00000000")


def test_an_output_that_the_next_stage_has_not_seen_is_a_broken_chain(fork: Path) -> None:
    lock = fork / "dvc.lock"
    before, chips, after = lock.read_text().rpartition("path: data/cut\n      hash: md5\n      md5: ")
    lock.write_text(f"{before}{chips}{'1' * 32}{after[32:]}")
    (found,) = differences(fork)
    assert (found.stage, found.about, found.expected) == ("learn", "data/cut", "md5 11111111")


def test_neither_data_nor_a_remote_is_asked_for(fork: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call("dvc remote add --default storage s3://nowhere-at-all/prefix", fork)

    def refuse(*_: object) -> None:
        raise AssertionError("the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert differences(fork) == []


def test_data_on_a_bucket_is_left_to_dvc(fork: Path) -> None:
    edit("dvc.yaml", "[cut.py,", "[cut.py, 's3://nowhere-at-all/image.tif',")(fork)
    assert differences(fork) == []


def test_a_lock_in_conflict_is_told_in_words(fork: Path) -> None:
    (fork / "dvc.lock").write_text("<<<<<<< ours\nschema: '2.0'\n=======\n>>>>>>> theirs\n")
    with pytest.raises(LockError, match=r"conflicts of a merge\n  file: .*dvc\.lock\n  hint: "):
        differences(fork)


def test_the_command_tells_stages_and_hint_and_fails(fork: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fork)
    whole = CliRunner().invoke(app, ["check", "--lock"])
    assert (whole.exit_code, whole.stdout) == (0, "dvc.lock is up to date\n")
    CHANGES["a parameter"][0](fork)
    stale = CliRunner().invoke(app, ["check", "--lock"])
    assert stale.exit_code == 1
    assert stale.stdout.splitlines() == [
        "stage 'learn' is not as dvc.lock says:",
        "  params.yaml: lr: expected 1e-05, got 0.01",
        "hint: run dvc repro, and commit dvc.lock and metrics; or revert the changes",
    ]


def test_lines_name_each_stage_once() -> None:
    some = [Difference("a", "x", "1", "2"), Difference("a", "y", "3", "4"), Difference("b", "x", "1", "2")]
    assert [line for line in lines(some) if line.startswith("stage")] == [
        "stage 'a' is not as dvc.lock says:",
        "stage 'b' is not as dvc.lock says:",
    ]
