"""DVC reruns what has changed and nothing else; a stage that was killed is simply run again."""

import json
import re
import signal
from pathlib import Path

import psutil
import pytest

from tests.project import WORLD, call, change, digests, ran, started, until


def stale(folder: Path) -> set[str]:
    return set(json.loads(call("dvc status --json", folder))) - {"params"}  # which looks at all of them, and is quick


def test_a_second_repro_runs_nothing(project: Path) -> None:
    assert ran(call("dvc repro", project)) == []
    assert call("git status --porcelain", project) == ""


@pytest.mark.parametrize(
    ("key", "value", "first"),
    [
        ("lr", 0.0001, {"train", "bundle"}),
        ("model.encoder", "resnet18", {"train", "bundle"}),
        ("train.loss.dice", 0.1, {"train", "bundle"}),
        ("predict.stride", 64, {"predict", "bundle"}),
        ("eval.pictures.longest_side", 128, {"eval", "bundle"}),
        ("bundle.title", "other", {"bundle"}),
        ("chip.negatives", 0.5, {"chip", "bundle"}),
        ("analyze.histogram_bins", 8, {"analyze", "bundle"}),
        ("seed", 7, {"chip", "train", "bundle"}),
    ],
)
def test_a_parameter_makes_stale_what_takes_it(project: Path, key: str, value: object, first: set[str]) -> None:
    change(project, {key: value})
    assert stale(project) == first
    call("git checkout --quiet .", project)


@pytest.mark.parametrize(
    ("changed", "stages"),
    [
        ("runtime/progress.py", set()),
        ("serving/apply.py", set()),
        ("team/doctor.py", set()),
        ("cli/stages.py", set()),
        ("errors.py", set()),
        ("tasks/object_detection/targets/overlaps.py", set()),
        ("tasks/semantic_segmentation/layers/polygoniser.py", {"predict"}),
        ("tasks/semantic_segmentation/scoring/__init__.py", {"train", "eval"}),
        ("models/detector/anchors.py", set()),
        ("models/training/augment.py", {"train", "predict", "bundle"}),
        ("geo/reading/reader.py", {"analyze", "chip", "predict", "eval"}),
    ],
)
def test_a_change_of_code_makes_stale_what_it_decides(project: Path, changed: str, stages: set[str]) -> None:
    with (project / "src/quadrat" / changed).open("a") as file:
        file.write("\n# changed\n")
    assert stale(project) == stages
    call("git checkout --quiet .", project)


def test_an_experiment_elsewhere_leaves_the_workspace_alone(restored: Path) -> None:
    stage = restored / "src/quadrat/pipeline/train.py"
    stage.write_text(stage.read_text() + "\nprint('CODE', __file__, flush=True)\n")
    output = call("dvc exp run --temp -n elsewhere -S lr=1e-05 -S epochs=1 train", restored)
    assert ran(output) == ["train"]
    (code,) = re.findall(r"^CODE (.*)$", output, re.MULTILINE)
    assert Path(code).is_relative_to(restored / ".dvc/tmp/exps")
    shown = json.loads(call("dvc exp show --json", restored))
    experiment = next(e for row in shown for e in row["experiments"] or [] if e["name"] == "elsewhere")
    data = experiment["revs"][0]["data"]
    assert data["params"]["params.yaml"]["data"]["lr"] == 1e-5
    assert data["metrics"]["metrics/train.json"]["data"]["model"]["epochs"] == 1
    assert json.loads((restored / "metrics/train.json").read_text())["model"]["epochs"] == WORLD["epochs"]


@pytest.mark.parametrize(
    ("stage", "folder", "sign"),
    [("chip", "data/chips", "*/*.npy"), ("predict", "data/predictions", "*/labels.tif")],
)
def test_a_killed_stage_is_simply_run_again(restored: Path, stage: str, folder: str, sign: str) -> None:
    whole = digests(restored / folder)
    for file in (restored / folder).rglob("*"):
        if file.is_file():
            file.unlink()
    with started(["python", "-m", "quadrat", stage], restored) as process:
        until(lambda: any((restored / folder).glob(sign)))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert digests(restored / folder) != whole
    assert stale(restored)
    assert ran(call(f"dvc repro --force --single-item {stage}", restored)) == [stage]
    assert digests(restored / folder) == whole


def test_a_killed_stage_keeps_what_it_has_made(restored: Path) -> None:
    whole = digests(restored / "data/chips")
    change(restored, {"chip.windows.count": 4000})
    with started(["dvc", "repro", "chip"], restored) as dvc:
        until(lambda: any((restored / "data/chips").glob(".part-*")))
        (stage,) = [child for child in psutil.Process(dvc.pid).children(recursive=True) if not child.children()]
        stage.kill()
        assert dvc.wait() != 0
    assert any((restored / "data/chips").glob(".part-*"))
    change(restored, {"chip.windows.count": WORLD["chip.windows.count"]})
    call("dvc repro chip", restored)
    assert digests(restored / "data/chips") == whole
