"""A training tells of each epoch while it runs: where DVC looks for figures, and dvclive; nothing becomes dirty."""

import csv
import json
from pathlib import Path

import pytest

from quadrat.models import Fitted
from quadrat.models.training.live_metrics import live
from tests.project import call, commit

FILE = "metrics.json"


def so_far(epochs: int) -> Fitted:
    history = [{"epoch": n, "validation_macro_f1": 0.5 + n / 10, "validation_loss": None} for n in range(epochs)]
    return Fitted({}, {"epochs": epochs}, history)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project without a commit, in which DVC has started a stage."""
    call("git init --quiet", tmp_path)
    call("dvc init --quiet", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "train")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


def write(fitted: Fitted) -> None:
    Path(FILE).write_text(json.dumps(fitted.metrics))


def stopped() -> None:
    with live(Path("live"), write, Path(FILE)) as watch:
        watch(so_far(1))
        raise KeyboardInterrupt


def test_each_epoch_is_told_once_and_dvc_yaml_is_left_alone(project: Path) -> None:
    (project / "dvc.yaml").write_text("stages: {}\n")
    commit(project)
    with live(Path("live"), write, Path(FILE)) as watch:
        for epochs in (1, 2, 4):  # of an epoch that was not told, the next tells
            watch(so_far(epochs))
            assert json.loads((project / FILE).read_text()) == {"epochs": epochs}
            assert json.loads((project / "live/metrics.json").read_text())["step"] == epochs - 1
    with (project / "live/plots/metrics/validation_macro_f1.tsv").open() as file:
        rows = [*csv.DictReader(file, delimiter="\t")]
    assert [row["step"] for row in rows] == ["0", "1", "2", "3"]
    assert float(rows[-1]["validation_macro_f1"]) == pytest.approx(0.8)
    assert call("git status --porcelain", project).split() == ["??", "live/", "??", FILE]
    assert call("dvc exp list --all", project) == ""


def test_a_training_in_a_project_without_a_commit_goes_on(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with live(Path("live"), write, Path(FILE)) as watch:
        watch(so_far(1))
    assert json.loads((project / FILE).read_text()) == {"epochs": 1}
    assert "commit the project first" in capsys.readouterr().err


def test_a_training_that_ends_early_leaves_no_figures(project: Path) -> None:
    commit(project)
    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert not (project / FILE).exists()


def test_a_training_by_hand_leaves_the_figures_of_the_last_model(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_STAGE")
    write(so_far(7))
    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert json.loads((project / FILE).read_text()) == {"epochs": 7}
