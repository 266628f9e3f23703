"""``dvc metrics diff`` between two commits of the project as it is: what changed, the figures that are judged first."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from quadrat.evaluation.score_tables import write_scores
from quadrat.runtime.files import write_json
from quadrat.tasks.common.metrics import rounded
from tests.project import call, clone, commit

EVAL: dict[str, Any] = {
    "Test": {"macro_f1": 0.5123, "low": 0.45, "high": 0.55, "over_forest": {"macro_f1": 0.1, "low": 0, "high": 0.2}},
    "overall": {"accuracy": 0.6, "macro_f1": 0.5123, "support": 900, "macro_iou": 0.4, "unpredicted": 0.0},
    "baseline": {"forest": {"accuracy": 0.55, "macro_f1": 0.4, "support": 900}},
    "validation": {"accuracy": None, "macro_f1": None, "support": 0},
}
TRAIN = {"model": rounded({"loss": 1.98236703, "macro_f1": 0.42580833, "epoch": 3, "epochs": 5})}
ANALYZE = {"train": {"scenes": 1, "pixels": 5000, "valid": 1.0, "labels": 4000}}


def write(folder: Path, eval_: Any, train: Any, f1: float | None) -> None:
    for name, content in (("eval", eval_), ("train", train), ("analyze", ANALYZE)):
        write_json(folder / f"metrics/{name}.json", content)
    write_scores(folder / "metrics/plots/class_scores.csv", "class", {"lake": {"f1": f1, "support": 3}})
    commit(folder)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the project with figures of two commits: what was defined is not any more, and the other way round."""
    folder = clone(tmp_path_factory.mktemp("project"))
    write(folder, EVAL, TRAIN, None)
    overall = {**EVAL["overall"], "macro_f1": 0.5321, "macro_iou": None}
    after = {**EVAL, "overall": overall, "validation": {"accuracy": 0.5, "macro_f1": None, "support": 10}}
    write(folder, after, {"model": {**TRAIN["model"], "loss": None, "epoch": 4}}, 0.5)
    return folder


def rows(printed: str) -> list[list[str]]:
    return [re.split(r" {2,}", line.strip()) for line in printed.splitlines()]


def test_what_has_changed_is_told_and_undefined_is_a_dash(project: Path) -> None:
    head, *told = rows(call("dvc metrics diff HEAD~1 HEAD", project))
    assert head == ["Path", "Metric", "HEAD~1", "HEAD", "Change"]
    assert sorted(told) == [  # DVC has no order of files
        ["metrics/eval.json", "overall.macro_f1", "0.5123", "0.5321", "0.0198"],
        ["metrics/eval.json", "overall.macro_iou", "0.4", "-", "-"],
        ["metrics/eval.json", "validation.accuracy", "-", "0.5", "-"],
        ["metrics/eval.json", "validation.support", "0", "10", "10"],
        ["metrics/train.json", "model.epoch", "3", "4", "1"],
        ["metrics/train.json", "model.loss", "1.9824", "-", "-"],
    ]


def test_the_same_figures_differ_in_nothing(project: Path) -> None:
    assert call("dvc metrics diff HEAD HEAD", project) == ""


def test_what_is_judged_comes_first_and_names_are_nowhere_the_same(project: Path) -> None:
    columns = call("dvc exp show --csv", project).splitlines()[0].split(",")
    assert columns[5:8] == ["Test.macro_f1", "Test.low", "Test.high"]
    shown = call("dvc metrics show", project).split()
    assert shown[1:7] == [f"Test.{key}{name}" for key in ("", "over_forest.") for name in ("high", "low", "macro_f1")]
    figures = columns[5 : columns.index("train.labels") + 1]
    assert not [name for name in figures if ":" in name]  # DVC puts the file before names of several files
    files = list(json.loads(call("dvc metrics show --json", project))[""]["data"])
    assert files == ["metrics/eval.json", "metrics/train.json", "metrics/analyze.json"]


def test_scores_of_classes_are_drawn_beside_each_other(project: Path) -> None:
    found = json.loads(call("dvc plots diff HEAD~1 HEAD --targets f1 --json", project))
    (plot,) = found["data"]["f1"]
    assert set(plot["revisions"]) == {"HEAD~1", "HEAD"}
