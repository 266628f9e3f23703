"""How a commit and what jobs have recorded go from machine to machine."""

from pathlib import Path

import pytest

from quadrat.cluster.jobs import Chain
from quadrat.cluster.shipping import STATE, Project, fetch, pull, send
from quadrat.errors import ClusterError
from tests.project import bare, call, commit

ADDED = """diff --git a/table.csv b/table.csv
new file mode 100644
--- /dev/null
+++ b/table.csv
@@ -0,0 +1 @@
+kept\x20
"""
"""What a job adds; its line ends with a space."""


def stored(folder: Path, cache: Path) -> Project:
    return Project(str(cache), call("git rev-parse HEAD", folder).strip(), "")


def test_what_jobs_have_recorded_is_brought_back_and_goes_on_to_the_next_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache, kept = bare(tmp_path, monkeypatch), tmp_path / "cache", tmp_path / "kept"
    monkeypatch.chdir(folder)
    monkeypatch.setattr("quadrat.cluster.shipping._dvc", lambda *_: True)  # there are no data
    kept.mkdir()
    (folder / "dvc.lock").write_text("schema: '2.0'\n")
    commit(folder)
    first = stored(folder, cache)
    send(first, "")
    call(f"git clone --quiet {first.place}/project.bundle {tmp_path / 'machine'}", tmp_path)
    machine = tmp_path / "machine"
    assert call("git rev-parse HEAD", machine).strip() == first.commit
    (machine / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    state = Path(first.place) / STATE
    assert state.read_bytes() == b""

    chain = Chain("batch", first.place, ())
    for metrics in ("[]\n", "{}\n", "{}\n"):
        (machine / "metrics.json").write_text(metrics)
        call("git add --all", machine)
        state.write_text(call("git diff --cached --binary HEAD", machine))
        fetch(chain, kept, [])
        assert (folder / "metrics.json").read_text() == metrics
        assert (folder / "dvc.lock").read_text() == "schema: '2.0'\nstages: {}\n"
        if metrics == "{}\n":
            (kept / f"fetched-{first.commit}.patch").unlink()  # as if it were killed before
    (folder / "metrics.json").write_text("of my own\n")
    with pytest.raises(ClusterError, match="doesn't fit the files here"):
        fetch(chain, kept, [])
    assert (folder / "metrics.json").read_text() == "of my own\n"

    (folder / "metrics.json").unlink()
    call("git checkout --quiet dvc.lock", folder)
    (folder / "mended.py").write_text("\n")
    commit(folder)
    second = stored(folder, cache)
    send(second, first.place)
    assert (Path(second.place) / STATE).read_bytes() == state.read_bytes()
    fetch(Chain("batch", second.place, ()), kept, [])
    commit(folder)
    third = stored(folder, cache)
    send(third, second.place)
    assert (Path(third.place) / STATE).read_bytes() == b""  # the commit has it
    call("git config apply.whitespace fix", folder)
    (Path(third.place) / STATE).write_text(ADDED)
    fetch(Chain("batch", third.place, ()), kept, [])
    assert (folder / "dvc.lock").read_text() == "schema: '2.0'\nstages: {}\n"  # what is committed stays
    assert (folder / "table.csv").read_text() == "kept \n"
    assert call("git status --short", folder) == "?? table.csv\n"


@pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # within DVC
def test_a_machine_pulls_what_a_stage_reads_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bare(tmp_path, monkeypatch)
    monkeypatch.chdir(folder)
    for name in ("read/a/x", "read/b", "other"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "dvc.yaml").write_text(
        "stages:\n  one: {cmd: cp other out, deps: [other], outs: [out]}\n"
        "  two: {cmd: cp read/a/x made, deps: [read, read/a/x, out], outs: [made]}\n"
    )
    config = folder / ".dvc/config"
    config.write_text(config.read_text().replace("url = remote", f"url = {tmp_path / 'remote'}"))
    call("dvc add --quiet read/a read/b other", folder)
    call("dvc repro --quiet", folder)
    call("dvc push --quiet", folder)
    commit(folder)
    call(f"git clone --quiet {folder} {tmp_path / 'machine'}", tmp_path)
    monkeypatch.chdir(tmp_path / "machine")
    pull(["two"])
    assert {name for name in ("read/a/x", "read/b", "out", "other", "made") if Path(name).exists()} == {
        "read/a/x",
        "read/b",
        "out",
    }
    with pytest.raises(ClusterError, match="can't be pulled"):
        pull(["three"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ClusterError, match="this folder is in no DVC project"):
        pull(["two"])
