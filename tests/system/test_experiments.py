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

from quadrat.team.remote import Access, set_remote
from tests.project import NETWORK, ROOT, call, change, digests, environment, ran
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


def test_what_is_no_parameter_is_refused_before_anything_is_computed(project: Path) -> None:
    before = everything(project)
    typo, hint = "train.gradient_clip_nrm: there is no such key", "did you mean 'gradient_clip_norm'?"
    for settings, words in (
        ("-S lrr=0.1", ["lrr"]),  # by DVC itself
        ("-S +train.gradient_clip_nrm=0.1", [typo, hint]),
        ("--temp -S lr=fast -S bundle.title=7", ["lr: Input should be a valid number", "also bundle.title: "]),
    ):
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


def test_an_experiment_runs_from_anywhere_and_what_matters_is_shown_first(project: Path, tmp_path: Path) -> None:
    """On a detached HEAD, where no user is known; and from a subfolder, by paths."""
    unknown = {"HOME": str(tmp_path), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    call("git checkout --quiet --detach", project)
    for side, folder, command, variables in (
        (64, project, "dvc exp run eval -S ", unknown),
        (65, project / "data/raw", "dvc exp run ../../dvc.yaml:eval -S ../../params.yaml:", {}),
    ):
        done = tried(f"{command}eval.pictures.longest_side={side} -n side-{side}", folder, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.findall(r"'(?:[./]*dvc.yaml:)?(\w+)':\n>", done.stdout + done.stderr) == ["params", "eval"]
    found = experiments(project)
    for side in (64, 65):
        assert parameters(found[f"side-{side}"])["eval"]["pictures"]["longest_side"] == side
        assert [*found[f"side-{side}"]["metrics"]] == [
            "metrics/eval.json",
            "metrics/train.json",
            "metrics/analyze.json",
        ]
    header = call("dvc exp show --csv", project).splitlines()[0].split(",")
    assert header[:7] == ["Experiment", "rev", "typ", "Created", "parent", "Test.macro_f1", "Test.low"]
    changed = call("dvc exp show --csv --only-changed --drop 'src|data|models|metrics'", project).splitlines()[0]
    assert changed.split(",") == ["Experiment", "rev", "typ", "Created", "eval.pictures.longest_side"]


def test_what_a_subfolder_lacks_is_said_before_anything_runs(project: Path) -> None:
    done = tried("dvc exp run -S lr=0.01", project / "data/raw")
    assert done.returncode != 0
    assert ran(done.stdout + done.stderr) == []


def test_a_grid_in_the_queue_trains_each_with_its_own_code_and_parameters(project: Path) -> None:
    stage = project / "src/quadrat/pipeline/train.py"
    stage.write_text(stage.read_text() + "\nprint('CODE', __file__, flush=True)\n")
    call("dvc exp run --queue -S model.max_depth=1,2 train", project)
    call("git checkout --quiet --force .", project)  # the workspace goes on, and each has what it was queued with
    try:
        call("dvc queue start --jobs 1", project)
        wait_for_queue(project)
    finally:
        tried("dvc queue stop --kill", project)
    found = experiments(project)
    assert sorted(parameters(e)["model"]["max_depth"] for e in found.values()) == [1, 2]
    learnt = [e["metrics"]["metrics/train.json"]["data"]["model"] for e in found.values()]
    assert learnt[0] != learnt[1]
    for name in found:
        printed = call(f"dvc queue logs {name}", project)
        assert ran(printed) == ["train"]
        (code,) = re.findall(r"^CODE (.*)", printed, re.MULTILINE)
        assert Path(code).is_relative_to(project / ".dvc/tmp/exps")
    assert call("git status --porcelain", project) == ""


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


def test_a_training_is_seen_while_it_runs(project: Path) -> None:
    change(project, {**NETWORK, "baseline": None})
    endless = ["dvc", "exp", "run", "-S", "epochs=100000", "-S", "train.patience=100000", "train"]
    with subprocess.Popen(endless, cwd=project, env=environment(), start_new_session=True) as dvc:
        try:
            seen = set[int]()
            while len(seen) < 2:
                assert dvc.poll() is None
                seen |= epochs_shown(project)
            dirty = call("git status --porcelain --untracked-files=all -- :^metrics", project).splitlines()
            assert {line.split()[1] for line in dirty} == {"dvc.lock", "params.yaml"}
        finally:
            os.killpg(dvc.pid, signal.SIGINT)
    assert not (project / "metrics/train.json").exists()
    assert (project / "dvc.yaml").read_bytes() == (ROOT / "dvc.yaml").read_bytes()


def epochs_shown(folder: Path) -> set[int]:
    """Return of how many epochs `dvc exp show` tells in the workspace."""
    (workspace, *_) = json.loads(call("dvc exp show --json", folder))
    data = workspace["data"] or {"metrics": {}}  # DVC may look while a file is being replaced
    metrics = data["metrics"].get("metrics/train.json", {}).get("data") or {}
    return {metrics["model"]["epochs"]} if "epochs" in metrics.get("model", {}) else set()


def test_an_experiment_is_shared_through_git_and_a_bucket(project: Path, store: Store, tmp_path: Path) -> None:
    origin = tmp_path / "origin.git"
    call(f"git clone --quiet --bare {project} {origin}", tmp_path)
    mine, others = (joined(origin, tmp_path / name, store) for name in ("mine", "others"))
    call(f"dvc cache dir --local {project / '.dvc/cache'}", mine)
    call("dvc checkout --quiet", mine)
    call("dvc push", mine)
    assert ran(call("dvc exp run -n shared -S eval.pictures.longest_side=64 eval", mine)) == ["eval"]
    call("dvc exp push origin shared", mine)
    assert call("dvc exp list origin --name-only", others).split() == ["shared"]
    call("dvc exp pull origin shared", others)
    call("dvc exp apply shared", others)
    call("dvc pull", others)  # what the experiment has left as it was
    assert everything(others) == everything(mine)
    assert ran(call("dvc repro eval", others)) == []


def joined(origin: Path, folder: Path, store: Store) -> Path:
    call(f"git clone --quiet {origin} {folder}", origin)
    set_remote(folder, "s3://dvc/experiments", Access(store.endpoint, store.key, store.secret))
    return folder
