"""DVC reruns what has changed and nothing else; a stage that was killed is simply run again."""

import json
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.project import HOLDING, WORLD, call, change, digests, held, ran, started, until


def changed(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return what DVC sees changed, by stage; but for the look at all parameters, which is quick."""
    told = json.loads(call("dvc status --json", folder))
    return {
        name: {what: of for each in parts for what, of in each.items()}
        for name, parts in told.items()
        if name != "params"
    }


def test_a_second_repro_runs_nothing(project: Path) -> None:
    assert ran(call("dvc repro", project)) == []
    assert call("git status --porcelain", project) == ""


def test_a_parameter_makes_stale_what_takes_it(project: Path) -> None:
    values = {
        "lr": 0.0001,
        "model.trees": 5,
        "train.loss.dice": 0.1,
        "predict.stride": 64,
        "eval.pictures.longest_side": 128,
        "bundle.title": "other",
        "chip.negatives": 0.5,
        "analyze.histogram_bins": 8,
        "seed": 7,
    }
    change(project, values)
    found = {stage: set(of["changed deps"]["params.yaml"]) for stage, of in changed(project).items()}
    assert found == {
        "analyze": {"analyze"},
        "chip": {"seed", "chip"},
        "train": {"seed", "model", "lr", "train"},
        "predict": {"predict"},
        "eval": {"seed", "chip", "model", "lr", "train", "predict", "eval"},  # its page shows them
        "bundle": {key.partition(".")[0] for key in values},
    }


def test_a_change_of_code_makes_stale_what_it_decides(project: Path) -> None:
    code = Path("src/quadrat")
    for name in (
        *("runtime/progress.py", "serving/apply.py", "team/doctor.py", "cli/stages.py", "errors.py"),
        *("tasks/object_detection/targets/overlaps.py", "models/detector/anchors.py"),  # of what was not chosen
        *("tasks/semantic_segmentation/layers/polygoniser.py", "tasks/semantic_segmentation/scoring/__init__.py"),
        *("models/training/augment.py", "geo/reading/reader.py"),
    ):
        with (project / code / name).open("a") as file:
            file.write("\n# changed\n")
    layers, scoring = (str(code / "tasks/semantic_segmentation" / name) for name in ("layers", "scoring"))
    training, geo = str(code / "models/training"), str(code / "geo")
    assert {stage: set(of["changed deps"]) for stage, of in changed(project).items()} == {
        "analyze": {geo},
        "chip": {geo},
        "train": {training, scoring},
        "predict": {training, layers, geo},
        "eval": {scoring, geo},
        "bundle": {training},
    }


def test_an_experiment_elsewhere_leaves_the_workspace_alone(project: Path) -> None:
    stage = project / "src/quadrat/pipeline/train.py"
    stage.write_text(stage.read_text() + "\nprint('CODE', __file__, flush=True)\n")
    before = digests(project / "models"), digests(project / "metrics")
    with started([sys.executable, "-c", HOLDING], project):  # another workspace, another lock
        until(lambda: held(project))
        output = call("dvc exp run --temp -n elsewhere -S model.max_depth=1 train", project)
    assert ran(output) == ["train"]
    (code,) = re.findall(r"^CODE (.*)$", output, re.MULTILINE)
    assert Path(code).is_relative_to(project / ".dvc/tmp/exps")
    shown = json.loads(call("dvc exp show --json", project))
    experiment = next(e for row in shown for e in row["experiments"] or [] if e["name"] == "elsewhere")
    data = experiment["revs"][0]["data"]
    assert data["params"]["params.yaml"]["data"]["model"]["max_depth"] == 1
    mine = json.loads((project / "metrics/train.json").read_text())
    assert data["metrics"]["metrics/train.json"]["data"] != mine
    assert (digests(project / "models"), digests(project / "metrics")) == before


def test_killed_stages_are_simply_run_again(project: Path) -> None:
    stages = {"chip": ("data/chips", "*/*.npy"), "predict": ("data/predictions", "*/labels.tif")}
    whole = {stage: digests(project / folder) for stage, (folder, _) in stages.items()}
    for stage, (folder, sign) in stages.items():
        for file in (project / folder).rglob("*"):
            if file.is_file():
                file.unlink()
        with started(["python", "-m", "quadrat", stage], project) as process:
            until(lambda folder=folder, sign=sign: any((project / folder).glob(sign)))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        assert digests(project / folder) != whole[stage]
    assert {"chip", "predict"} <= changed(project).keys()
    assert ran(call("dvc repro --force --single-item chip predict", project)) == ["chip", "predict"]
    assert {stage: digests(project / folder) for stage, (folder, _) in stages.items()} == whole


def test_a_killed_stage_keeps_what_it_has_made(project: Path) -> None:
    whole = digests(project / "data/chips")
    change(project, {"chip.windows.count": 4000})
    with started(["dvc", "repro", "chip"], project) as dvc:
        until(lambda: any((project / "data/chips").glob(".part-*")))
        below = psutil.Process(dvc.pid).children(recursive=True)
        stage = next(child for child in below if "quadrat" in child.cmdline())  # its own child watches it
        stage.kill()
        assert dvc.wait() != 0
    assert any((project / "data/chips").glob(".part-*"))
    change(project, {"chip.windows.count": WORLD["chip.windows.count"]})
    call("dvc repro chip", project)
    assert digests(project / "data/chips") == whole
