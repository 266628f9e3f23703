"""AWS Batch for tests: moto's, whose containers are processes on this machine.

moto leaves out what is added here: the variable with a part's number, the state of arrays, that the end of an array
ends its parts, why a job never began, and a new attempt where a machine dies.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from botocore.session import get_session
from moto import mock_aws
from moto.batch.models import Job
from moto.batch.responses import BatchResponse

from tests.project import environment

ENDED = ("SUCCEEDED", "FAILED")


class Container:
    """A process in the place of a container. Where it is killed, its machine has died, and it begins again."""

    attrs: Mapping[str, Any] = {}

    def __init__(self, command: list[str], variables: Mapping[str, str], folder: Path, machines: "Machines") -> None:
        self.command, self.variables, self.folder, self.machines = command, variables, folder, machines
        self.attempt, self.stopped = 1, False
        self.begin()

    def begin(self) -> None:
        place = self.folder / str(self.attempt)
        place.mkdir(parents=True)
        self.log = place / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command,
                env={**environment(), **self.variables, "TMPDIR": str(place)},
                cwd=place,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def status(self) -> str:
        if self.process.poll() == -signal.SIGKILL and not self.stopped:
            job = self.variables["AWS_BATCH_JOB_ID"].partition(":")[0]
            if self.attempt < self.machines.attempts[job]:
                self.attempt += 1
                self.begin()
        return "running" if self.process.poll() is None else "exited"

    def reload(self) -> None:
        pass

    def logs(self, *, stdout: bool, **_: Any) -> bytes:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        text = self.log.read_text() if stdout else ""
        return "".join(f"{now} {line}\n" for line in text.splitlines() if line.strip()).encode()

    def wait(self) -> Mapping[str, int]:
        return {"StatusCode": abs(self.process.wait())}

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def remove(self) -> None:
        self.stopped = True
        self.kill()


class Machines:
    """Runs containers, as docker's client does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.containers = folder, self
        self.attempts: dict[str, int] = {}
        self.begun: list[Container] = []
        self.jobs: list[Job] = []

    @property
    def idle(self) -> bool:
        """Whether all jobs have ended."""
        return all(job.status in ENDED for job in self.jobs)

    def run(self, *, command: list[str], environment: dict[str, str], name: str, **_: Any) -> Container:
        _, _, index = environment["AWS_BATCH_JOB_ID"].partition(":")
        more = {"AWS_BATCH_JOB_ARRAY_INDEX": index} if index else {}
        container = Container(command, {**environment, **more}, self.folder / name, self)
        self.begun.append(container)
        return container


@contextmanager
def running(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    """Run AWS Batch in this process, with the queues and the job definition of examples/aws-batch."""
    machines = Machines(folder)
    submitjob, describe, terminate = BatchResponse.submitjob, Job.describe_short, Job.terminate

    def submitted(self: BatchResponse) -> str:
        said = submitjob(self)
        number = json.loads(said)["jobId"]
        machines.attempts[number] = (self._get_param("retryStrategy") or {}).get("attempts", 1)
        job = self.batch_backend._jobs[number]
        machines.jobs.append(job)
        if job._child_jobs:
            Thread(target=_wait_for_parts, args=(job,), daemon=True).start()
        return said

    def described(self: Job) -> dict[str, Any]:
        found = describe(self)
        if self.job_started_at.year == 1970:
            found.pop("startedAt", None)
            if self.status == "FAILED":
                found.setdefault("statusReason", "Dependent Job failed")
        return found

    def terminated(self: Job, reason: str) -> None:
        for one in (self, *(self._child_jobs or [])):
            if one.status not in ENDED:
                terminate(one, reason)

    monkeypatch.setattr(BatchResponse, "submitjob", submitted)
    monkeypatch.setattr(Job, "describe_short", described)
    monkeypatch.setattr(Job, "terminate", terminated)
    monkeypatch.setattr(Job, "docker_client", machines)
    monkeypatch.setattr("moto.settings.moto_server_host", lambda: "none")  # it would ask Docker
    with mock_aws(config={"core": {"mock_credentials": False}}):
        _stack()
        yield machines
        for container in machines.begun:
            container.remove()


def _wait_for_parts(job: Job) -> None:
    for child in job._child_jobs or []:
        child.join()
    job._mark_stopped(success=all(child.status == "SUCCEEDED" for child in job._child_jobs or []))


def _stack() -> None:
    session = get_session()
    role = session.create_client("iam").create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    batch = session.create_client("batch")
    made = batch.create_compute_environment(computeEnvironmentName="quadrat", type="UNMANAGED", serviceRole=role)
    order = [{"order": 1, "computeEnvironment": made["computeEnvironmentArn"]}]
    for name in ("quadrat", "quadrat-gpu"):
        batch.create_job_queue(jobQueueName=name, state="ENABLED", priority=1, computeEnvironmentOrder=order)
    container = {"image": "quadrat", "vcpus": 1, "memory": 1024}
    batch.register_job_definition(jobDefinitionName="quadrat", type="container", containerProperties=container)
