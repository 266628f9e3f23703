"""Experiments, as a team runs them: from anywhere, in the queue, shared; and what is no parameter is refused."""

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from quadrat.team.remote import Access, set_remote
from tests.project import ROOT, WORLD, call, digests, environment, ran
from tests.stores import Store


def tried(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    settings = {**environment(), **variables}
    return subprocess.run(words, cwd=folder, env=settings, capture_output=True, text=True, check=False)


def experiments(folder: Path) -> Mapping[str, Any]:
    """Return what `dvc exp show` knows of the experiments, by name."""
    rows = json.loads(call("dvc exp show --json", folder))
    return {e["name"]: e["revs"][0]["data"] for row in rows for e in row["experiments"] or []}


def everything(folder: Path) -> dict[str, str]:
    folders = ("data", "models", "metrics")
    return {f"{name}/{file}": digest for name in folders for file, digest in digests(folder / name).items()}


def parameters(experiment: Mapping[str, Any]) -> Any:
    return experiment["params"]["params.yaml"]["data"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("-S lrr=0.1", ["lrr"]),  # by DVC itself
        (
            "-S +train.gradient_clip_nrm=0.1",
            ["train.gradient_clip_nrm: there is no such key", "did you mean 'gradient_clip_norm'?"],
        ),
        (
            "-S bundle.title=7 -S lr=-1",
            ["lr: Input should be greater than 0", "also bundle.title: Input should be a valid"],
        ),
        ("--temp -S lr=fast", ["lr: Input should be a valid number"]),
    ],
)
def test_what_is_no_parameter_is_refused_before_anything_is_computed(
    project: Path, settings: str, words: list[str]
) -> None:
    before = everything(project)
    done = tried(f"dvc exp run {settings}", project)
    call("git checkout --quiet --force .", project)
    printed = done.stdout + done.stderr
    assert done.returncode != 0
    assert ran(printed) == []
    assert "Traceback" not in printed
    for word in words:
        assert word in printed
    assert everything(project) == before
    assert experiments(project) == {}


@pytest.mark.parametrize(
    ("where", "command"),
    [
        ("a detached HEAD", "dvc exp run -S"),
        ("a machine that knows no user", "dvc exp run -S"),
        ("a subfolder", "dvc --cd ../.. exp run -S"),
        ("a subfolder by paths", "dvc exp run ../../dvc.yaml:bundle -S ../../params.yaml:"),
    ],
)
def test_an_experiment_runs_from(where: str, command: str, restored: Path, tmp_path: Path) -> None:
    folder, variables = restored, dict[str, str]()
    if where == "a detached HEAD":
        call("git checkout --quiet --detach", restored)
    elif where == "a machine that knows no user":
        variables = {"HOME": str(tmp_path), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    else:
        folder = restored / "data/raw"
    name = where.replace(" ", "-").lower()
    separator = "" if command.endswith(":") else " "
    done = tried(f"{command}{separator}'bundle.title={where}' -n {name}", folder, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"'(?:[./]*dvc.yaml:)?(\w+)':\n>", done.stdout + done.stderr) == ["params", "bundle"]
    assert parameters(experiments(restored)[name])["bundle"]["title"] == where
    call(f"dvc exp remove {name}", restored)


def test_what_a_subfolder_lacks_is_said_before_anything_runs(project: Path) -> None:
    done = tried("dvc exp run -S lr=0.01", project / "data/raw")
    assert done.returncode != 0
    assert ran(done.stdout + done.stderr) == []


def test_a_grid_in_the_queue_trains_each_with_its_own_code_and_parameters(restored: Path) -> None:
    stage = restored / "src/quadrat/pipeline/train.py"
    stage.write_text(stage.read_text() + "\nprint('CODE', __file__, flush=True)\n")
    call("dvc exp run --queue -S lr=1e-5,0.003 -S epochs=1 train", restored)
    call("git checkout --quiet --force .", restored)  # the workspace goes on, and each has what it was queued with
    try:
        call("dvc queue start --jobs 1", restored)
        wait_for_queue(restored)
    finally:
        tried("dvc queue stop --kill", restored)
    found = experiments(restored)
    assert sorted(parameters(e)["lr"] for e in found.values()) == [1e-5, 0.003]
    assert {parameters(e)["epochs"] for e in found.values()} == {1}
    learnt = [e["metrics"]["metrics/train.json"]["data"]["model"] for e in found.values()]
    assert learnt[0]["loss"] != learnt[1]["loss"]
    for name in found:
        printed = call(f"dvc queue logs {name}", restored)
        assert ran(printed) == ["train"]
        (code,) = re.findall(r"^CODE (.*)", printed, re.MULTILINE)
        assert Path(code).is_relative_to(restored / ".dvc/tmp/exps")
    assert call("git status --porcelain", restored) == ""
    call(f"dvc exp remove {' '.join(found)}", restored)


def wait_for_queue(folder: Path) -> None:
    """Wait until all is done and the workers have ended."""
    deadline = time.monotonic() + 1200
    while "0 active, 0 idle" not in (status := call("dvc queue status", folder)) or workers(folder):
        assert "Failed" not in status, call("dvc queue logs", folder)
        assert time.monotonic() < deadline, status
        time.sleep(2)


def workers(folder: Path) -> list[str]:
    """Return the commands of DVC that still run for a project."""
    commands = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [command for command in commands if "dvc" in command and str(folder / ".dvc") in command]


def test_the_metrics_that_matter_come_first(restored: Path) -> None:
    assert tried("dvc exp run -n shown -S eval.pictures.longest_side=64", restored).returncode == 0
    (experiment,) = experiments(restored).values()
    assert [*experiment["metrics"]] == ["metrics/eval.json", "metrics/train.json", "metrics/analyze.json"]
    header = call("dvc exp show --csv", restored).splitlines()[0].split(",")
    assert header[:7] == ["Experiment", "rev", "typ", "Created", "parent", "overall.accuracy", "overall.macro_f1"]
    changed = call("dvc exp show --csv --only-changed --drop 'src|data|models|metrics'", restored).splitlines()[0]
    assert changed.split(",") == ["Experiment", "rev", "typ", "Created", "eval.pictures.longest_side"]
    call("dvc exp remove shown", restored)


def test_a_training_is_seen_while_it_runs(restored: Path) -> None:
    endless = ["dvc", "exp", "run", "-S", "epochs=100000", "-S", "train.patience=100000"]
    with subprocess.Popen(endless, cwd=restored, env=environment(), start_new_session=True) as dvc:
        try:
            seen = set[int]()
            while len(seen) < 2:
                assert dvc.poll() is None
                seen |= epochs_shown(restored)
            dirty = call("git status --porcelain --untracked-files=all -- :^metrics", restored).splitlines()
            assert {line.split()[1] for line in dirty} == {"dvc.lock", "params.yaml"}
        finally:
            os.killpg(dvc.pid, signal.SIGINT)
    assert not (restored / "metrics/train.json").exists()
    assert (restored / "dvc.yaml").read_bytes() == (ROOT / "dvc.yaml").read_bytes()


def epochs_shown(folder: Path) -> set[int]:
    """Return of how many epochs `dvc exp show` tells in the workspace, beside those of the finished model."""
    (workspace, *_) = json.loads(call("dvc exp show --json", folder))
    data = workspace["data"] or {"metrics": {}}  # DVC may look while a file is being replaced
    metrics = data["metrics"].get("metrics/train.json", {}).get("data") or {}
    return {metrics["model"]["epochs"]} - {WORLD["epochs"]} if "model" in metrics else set()


def test_an_experiment_is_shared_through_git_and_a_bucket(project: Path, store: Store, tmp_path: Path) -> None:
    origin = tmp_path / "origin.git"
    call(f"git clone --quiet --bare {project} {origin}", tmp_path)
    mine, others = (joined(origin, tmp_path / name, store) for name in ("mine", "others"))
    call(f"dvc cache dir --local {project / '.dvc/cache'}", mine)
    call("dvc checkout --quiet", mine)
    call("dvc push", mine)
    assert ran(call("dvc exp run -n shared -S bundle.title=shared", mine)) == ["bundle"]
    call("dvc exp push origin shared", mine)
    assert call("dvc exp list origin --name-only", others).split() == ["shared"]
    call("dvc exp pull origin shared", others)
    call("dvc exp apply shared", others)
    call("dvc pull", others)  # what the experiment has left as it was
    assert everything(others) == everything(mine)
    assert ran(call("dvc repro", others)) == []


def joined(origin: Path, folder: Path, store: Store) -> Path:
    call(f"git clone --quiet {origin} {folder}", origin)
    set_remote(folder, "s3://dvc/experiments", Access(store.endpoint, store.key, store.secret))
    return folder
