"""What is asked of AWS Batch, and what is told of its answers; tests/system/test_batch.py runs the jobs."""

import json
import subprocess
from inspect import signature
from pathlib import Path
from typing import Any

import cfnlint.api
import cfnlint.decode
import pytest
from typer.testing import CliRunner

from quadrat.cli import app
from quadrat.cli.submit import submit_batch
from quadrat.cluster import batch
from quadrat.cluster.jobs import FOLDER, RECORD, plan
from quadrat.cluster.shipping import Project
from tests.project import bare, call, commit

PROJECT = Project("s3://bucket/cache/", "c0ffee", "sub folder/")
NO_IMAGE = "CannotPullContainerError: no such image"
OPTIONS = batch.Options("cpu", "gpu", "image", 3)


def test_a_request_says_what_aws_needs() -> None:
    asked = {job.name: batch.request(job, PROJECT, OPTIONS, "before") for job in plan("chip", 8, gpu=True)}
    chip, train, predict, rest = asked.values()
    assert chip["arrayProperties"] == predict["arrayProperties"] == {"size": 8}
    assert [one["jobQueue"] for one in asked.values()] == ["cpu", "gpu", "gpu", "cpu"]
    assert predict["containerOverrides"]["resourceRequirements"] == [{"type": "GPU", "value": "1"}]
    assert "resourceRequirements" not in rest["containerOverrides"]
    assert train["dependsOn"] == [{"jobId": "before"}]
    assert train["jobDefinition"] == "image"
    assert 1 <= train["retryStrategy"]["attempts"] <= 10  # what AWS takes
    assert {len(json.dumps(one["containerOverrides"])) < 8192 for one in asked.values()} == {True}  # the same


def test_one_part_is_no_array() -> None:
    (chip, *_) = plan("chip", 1, gpu=False)
    asked = batch.request(chip, PROJECT, OPTIONS, None)
    assert not {"arrayProperties", "dependsOn"} & {*asked}


def test_a_script_is_one_that_bash_reads() -> None:
    for job in plan("analyze", 2, gpu=False):
        text = batch.scripted(job, PROJECT, 3)
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)
        assert "jobs=s3://bucket/cache/jobs/c0ffee\n" in text
        assert ("git diff" in text) == (job.parts == 0)
    assert "part=$((${AWS_BATCH_JOB_ARRAY_INDEX:-0} + 1))" in text


class Answers:
    """Stands for botocore's clients of Batch and of its logs."""

    def __init__(self, jobs: list[dict[str, Any]], failed: list[dict[str, Any]]) -> None:
        self.jobs, self.failed, self.ended = jobs, failed, list[str]()
        self.exceptions = type("", (), {"ResourceNotFoundException": KeyError})

    def describe_jobs(self, jobs: list[str]) -> Any:
        assert 0 < len(jobs) <= 100
        return {"jobs": [one for one in [*self.failed, *self.jobs] if one["jobId"] in jobs]}

    def get_paginator(self, _: str) -> "Answers":
        return self

    def paginate(self, **asked: str) -> list[Any]:
        assert asked["jobStatus"] == "FAILED"
        return [{"jobSummaryList": [one]} for one in self.failed if one["jobId"].startswith(asked["arrayJobId"])]

    def get_log_events(self, **asked: Any) -> Any:
        if asked["logStreamName"] == "none":
            raise KeyError
        assert asked["logGroupName"] == "quadrat"
        return {"events": [{"message": f"end of {asked['logStreamName']}"}], "nextForwardToken": "1"}

    def terminate_job(self, jobId: str, reason: str) -> None:  # noqa: N803 its name
        assert reason
        self.ended.append(jobId)


def part(number: str, stream: str = "none", **more: Any) -> dict[str, Any]:
    log = {"logDriver": "awslogs", "options": {"awslogs-group": "quadrat"}}
    return {
        "jobId": number,
        "status": "FAILED",
        "startedAt": 1,
        "container": {"logStreamName": stream, "logConfiguration": log},
        **more,
    }


def test_answers_are_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    FOLDER.mkdir(parents=True)
    names = {"analyze": 0, "chip": 40, "train": 0, "predict": 40, "rest": 0}
    jobs = [{"name": name, "id": name[0], "parts": parts} for name, parts in names.items()]
    (FOLDER / RECORD).write_text(json.dumps({"engine": "batch", "place": "s3://b/jobs/1", "jobs": jobs}))
    failed = [part(f"c:{number}", f"log {number}") for number in range(11)]
    failed += [part("c:11", statusReason=batch.CANCELLED), part("c:12", startedAt=None, statusReason=NO_IMAGE)]
    failed[3]["container"]["reason"] = "OutOfMemoryError"
    summary = {"SUCCEEDED": 20, "RUNNING": 7, "RUNNABLE": 0, "FAILED": 13}
    answers = Answers(
        [
            {"jobId": "c", "status": "PENDING", "arrayProperties": {"statusSummary": summary}},
            part("t", startedAt=None, statusReason="Dependent Job failed"),
            part("p", startedAt=None, arrayProperties={"statusSummary": {}}),
            {"jobId": "r", "status": "RUNNABLE"},
        ],
        failed,
    )
    monkeypatch.setattr(batch, "client_of", lambda _: answers)
    monkeypatch.setattr("quadrat.cluster.aws.client_of", lambda _: answers)
    rows, told = batch.status(FOLDER)
    assert [row[2] for row in rows] == [
        "1 forgotten by AWS",
        "20 done, 7 running, 12 failed, 1 cancelled",
        "1 not run",
        "40 not run",
        "1 runnable",
    ]
    assert told[0] == "chip 1: log 0\nend of log 0"
    assert told[3] == "chip 4: log 3\nend of log 3\nOutOfMemoryError"
    assert told[-1] == "chip: 2 more parts failed"
    asked = CliRunner().invoke(app, ["submit", "batch"], env={"QUADRAT_CACHE": "s3://b/c"})
    assert asked.exit_code == 1
    done = CliRunner().invoke(app, ["submit", "cancel"])
    assert (done.exit_code, done.stdout) == (0, "chip: c cancelled\nrest: r cancelled\n")
    assert answers.ended == ["r", "p", "t", "c", "a"]


@pytest.mark.parametrize("parts", [0, 2])
def test_a_job_whose_machine_has_no_image_has_failed(
    parts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    FOLDER.mkdir(parents=True)
    jobs = [{"name": "chip", "id": "c", "parts": parts}, {"name": "train", "id": "t", "parts": 0}]
    (FOLDER / RECORD).write_text(json.dumps({"engine": "batch", "place": "s3://b/jobs/1", "jobs": jobs}))
    never = {"jobId": "c", "status": "FAILED", "statusReason": NO_IMAGE, "container": {}}
    after = {"jobId": "t", "status": "FAILED", "statusReason": "Dependent Job failed", "container": {}}
    monkeypatch.setattr(batch, "client_of", lambda _: Answers([never, after], []))
    monkeypatch.setattr("quadrat.cluster.aws.client_of", lambda _: Answers([], []))
    rows, told = batch.status(FOLDER)
    assert [row[2] for row in rows] == [f"{parts or 1} failed", "1 not run"]
    assert told == [f"chip: no log\n{NO_IMAGE}"]
    assert CliRunner().invoke(app, ["submit", "status"]).exit_code == 1
    assert CliRunner().invoke(app, ["submit", "cancel"]).stdout == "all jobs had ended\n"
    done = CliRunner().invoke(app, ["submit", "logs", "predict"])
    assert done.exit_code == 1
    assert "no such job was submitted\n  expected: chip, train\n  got: predict" in done.output


def refused(cache: str | None) -> str:
    done = CliRunner().invoke(app, ["submit", "batch", "--dry-run"], env={"QUADRAT_CACHE": cache, "COLUMNS": "200"})
    assert done.exit_code == 1
    return done.output


@pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # within DVC
def test_what_no_machine_could_get_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bare(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert "there is none\n  hint: git init, git add and git commit\n" in refused("s3://b/c")
    monkeypatch.chdir(folder)
    for cache in (None, "/mnt/cache", "file:///mnt/cache"):
        words = f"expected: a URL such as s3://bucket/folder\n  got: {cache or 'nothing'}\n"
        assert f"QUADRAT_CACHE is no place that they reach\n  {words}" in refused(cache)
    assert "the DVC remote is no place that other machines reach\n  file: .dvc/config" in refused("s3://b/c")
    call("dvc remote modify storage url s3://b/data", folder)
    assert "files differ from it\n  got: \n M .dvc/config\n" in refused("s3://b/c")
    commit(folder)
    call("git config status.showUntrackedFiles no", folder)
    (folder / "code.py").touch()
    assert "files differ from it\n  got: \n?? code.py\n" in refused("s3://b/c")
    (folder / "code.py").unlink()
    call("dvc remote add --local --default mine s3://mine/data", folder)
    assert "expected: s3://b/data\n  got: s3://mine/data\n" in refused("s3://b/c")
    call("dvc config --local --unset core.remote", folder)
    (folder / "data").mkdir()
    for name in ("kept", "gone", "drawn"):
        (folder / "data" / name).write_text(name)
    call("dvc add --quiet data", folder)
    (folder / "data/gone").unlink()  # as in a clone that has pulled a part
    commit(folder)
    (folder / "data/new").touch()
    (folder / "data/drawn").unlink()
    (folder / "data/drawn").write_text("anew")
    assert "files differ from it\n  got: \ndata/drawn: modified\ndata/new: added\n  hint: dvc add" in refused(
        "s3://b/c"
    )
    call("dvc add --quiet data", folder)
    commit(folder)
    call(f"git clone --quiet --depth 1 file://{folder} {tmp_path / 'shallow'}", tmp_path)
    done = CliRunner().invoke(app, ["submit", "batch", "--dry-run", "--parts", "3"], env={"QUADRAT_CACHE": "s3://b/c"})
    assert done.exit_code == 0
    assert done.output.count('"size": 3') == 2
    monkeypatch.chdir(tmp_path / "shallow")
    assert "git fetch --unshallow" in refused("s3://b/c")


def test_the_template_is_one_that_aws_takes_and_has_the_names_that_the_command_uses(root: Path) -> None:
    file = root / "examples/aws-batch/template.yaml"
    assert cfnlint.api.lint_file(file) == []
    template, _ = cfnlint.decode.decode(str(file))
    assert template is not None
    found = [one.get("Properties", {}) for one in template["Resources"].values()]
    queues = {one["JobQueueName"] for one in found if "JobQueueName" in one}
    defaults = {name: one.default for name, one in signature(submit_batch).parameters.items()}
    assert queues == {defaults["queue"], defaults["gpu_queue"], "quadrat-spot"}
    assert [one["JobDefinitionName"] for one in found if "JobDefinitionName" in one] == [defaults["definition"]]
    machines = [one["ComputeResources"] for one in found if "ComputeResources" in one]
    assert [one["MinvCpus"] for one in machines] == [0, 0, 0]  # none costs anything at rest


def test_the_container_is_made_of_what_is_here(root: Path) -> None:
    lines = (root / "examples/aws-batch/Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    taken = {line.removeprefix("!") for line in (root / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    assert {*copied} == {name for name in copied if (root / name).exists()} <= taken
