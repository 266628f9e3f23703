"""What a killed DVC leaves is named, with the way out; so are results of other inputs than DVC says."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quadrat.cli import app
from quadrat.errors import LockError
from quadrat.runtime.provenance.origin import file_md5
from quadrat.runtime.run import Paths
from quadrat.team import doctor
from quadrat.team.damage import half_written, lock_damage
from quadrat.team.lockfile import opened
from quadrat.team.made_of import lines, otherwise_made

LOCK = """schema: '2.0'
stages:
  predict:
    deps:
    - {path: data/raw, hash: md5, md5: new}
    - {path: models/model, hash: md5, md5: same}
    outs:
    - {path: data/manifests/predict.json, hash: md5, md5: MANIFEST}
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "got: an empty file\n  hint: .*git checkout HEAD dvc.lock"),
        ("s", "cut short"),
        (LOCK[:60], "got: 60 characters, the last line: '    - {path: data'"),
        (f"<<<<<<< ours\n{LOCK}=======\n{LOCK}>>>>>>> theirs\n", "conflicts of a merge(.|\n)*--ours"),
    ],
)
def test_a_lock_that_dvc_refuses_is_named_with_the_way_out(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dvc.lock").write_text(text)
    with pytest.raises(LockError, match=said), opened(tmp_path):
        pass
    assert doctor._dvc(tmp_path).state == "broken"
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, ["check", "--lock"])
    assert shown.exit_code == 1


def test_a_whole_lock_and_none_are_not_damaged(tmp_path: Path) -> None:
    assert lock_damage(tmp_path) is None
    (tmp_path / "dvc.lock").write_text(LOCK)
    assert lock_damage(tmp_path) is None


def test_files_that_dvc_was_writing_are_told_from_others(tmp_path: Path, root: Path) -> None:
    folder = tmp_path / "data/raw/town"
    folder.mkdir(parents=True)
    for name in (".Ab-dEf_hIjKlMnOpQrStUv.tmp", ".mine.tmp", "a.tmp"):
        (folder / name).touch()
    assert [file.name for file in half_written(tmp_path)] == [".Ab-dEf_hIjKlMnOpQrStUv.tmp"]
    assert f"\n.{'?' * 22}.tmp\n" in (root / ".dvcignore").read_text()


def told(folder: Path, manifest: str, md5: str | None = None) -> list[str]:
    """Return what is said of predictions with this manifest, of which ``dvc.lock`` has the hash ``md5``."""
    file = folder / Paths.prediction_manifest
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(manifest)
    (folder / "dvc.lock").write_text(LOCK.replace("MANIFEST", md5 or file_md5(file)))
    return [*lines(otherwise_made(folder))]


def test_predictions_of_other_inputs_than_the_lock_names_are_told(tmp_path: Path) -> None:
    def manifest(raw: str | None) -> str:
        return json.dumps({".": {"inputs": {"data/raw": raw, "models/model": "same", "data/pins.json": "other"}}})

    said = told(tmp_path, manifest("old"))
    assert said[:2] == [
        "the results of stage 'predict' were made of another data/raw than dvc.lock says:",
        "  expected md5 new, got md5 old",
    ]
    assert told(tmp_path, manifest("new")) == []
    assert told(tmp_path, manifest(None)) == []  # it was missing, or DVC could not tell
    assert told(tmp_path, manifest("old"), "another") == []  # the lock is of other predictions than are here
    assert told(tmp_path, '{"a": {}}') == []  # of an earlier version
    (tmp_path / "dvc.lock").unlink()
    assert otherwise_made(tmp_path) == []
