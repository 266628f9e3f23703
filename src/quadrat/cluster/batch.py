"""Submits the pipeline to AWS Batch: a chain of jobs, of which those in parts are arrays.

https://docs.aws.amazon.com/batch/latest/APIReference/API_SubmitJob.html
"""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from quadrat.cluster.aws import asked, client_of, described, lines
from quadrat.cluster.jobs import (
    OWN,
    RECORD,
    SHOWN,
    Chain,
    Job,
    Submitted,
    attempts,
    give_all,
    last,
    recorded,
    sole_chain,
)
from quadrat.cluster.shipping import BUNDLE, STATE, Project, project, send

HOSTS = 5
"""How often a job begins whose machines die, as Spot's do; what fails on a machine is tried again there."""

TOLD = 10
"""Most failed parts of a job whose logs are shown."""

CANCELLED = "cancelled by quadrat submit cancel"

STATES = {"SUCCEEDED": "done", "FAILED": "failed"}
"""Words for states; others are AWS's own."""

COPY = """copy() { python -c 'import shutil, sys, fsspec
place, to, *names = sys.argv[1:]
for name in names:
    with fsspec.open(f"{place}/{name}", "rb") as source, fsspec.open(f"{to}/{name}", "wb") as target:
        shutil.copyfileobj(source, target)' "$@"; }"""
"""A function of the shell that copies files between folders and URLs."""


@dataclass(frozen=True)
class Options:
    """Names of what the stack on AWS has, and a limit."""

    queue: str
    gpu_queue: str
    definition: str
    """The job definition: the container, its processors and memory."""
    tries: int
    """How often a part that fails is run."""


def submit(jobs: Sequence[Job], folder: Path, cache: str | None, options: Options) -> Chain:
    """Send the project at its commit, submit the jobs, each after the one before it, and note them.

    Raises ClusterError if the machines can't get the project or the data, or if AWS refuses a job.
    """
    found = project(cache)
    with sole_chain(folder), asked():
        client = client_of("batch")
        send(found, recorded(folder).place if (folder / RECORD).exists() else "")
        return give_all(jobs, folder, Chain("batch", found.place, ()), partial(_give, client, found, options))


def _give(client: Any, found: Project, options: Options, job: Job, after: str | None) -> str:
    with asked():
        return str(client.submit_job(**request(job, found, options, after))["jobId"])


def request(job: Job, found: Project, options: Options, after: str | None) -> dict[str, Any]:
    """Return the request that submits a job."""
    container: dict[str, Any] = {"command": ["bash", "-c", scripted(job, found, options.tries)]}
    if job.gpu:
        container["resourceRequirements"] = [{"type": "GPU", "value": "1"}]
    again = [{"onStatusReason": "Host EC2*", "action": "RETRY"}, {"onReason": "*", "action": "EXIT"}]
    words: dict[str, Any] = {
        "jobName": f"quadrat-{job.name}",
        "jobQueue": options.gpu_queue if job.gpu else options.queue,
        "jobDefinition": options.definition,
        "containerOverrides": container,
        "retryStrategy": {"attempts": HOSTS, "evaluateOnExit": again},
    }
    if job.parts > 1:  # the smallest array
        words["arrayProperties"] = {"size": job.parts}
    if after:
        words["dependsOn"] = [{"jobId": after}]
    return words


def scripted(job: Job, found: Project, tries: int) -> str:
    """Return the script that a container runs: it gets the project and what the job reads, and stores what it makes."""
    text = f"""# {job.name}: made by quadrat submit
set -eo pipefail
export QUADRAT_CACHE={shlex.quote(found.cache)}
jobs={shlex.quote(found.place)}
{COPY}
folder=$(mktemp --directory)
copy "$jobs" "$folder" {BUNDLE} {STATE}
git -c advice.detachedHead=false clone --quiet "$folder/{BUNDLE}" "$folder/project"
cd "$folder/project"
[ ! -s "$folder/{STATE}" ] || git apply --index "$folder/{STATE}"
cd ./{shlex.quote(found.prefix)}
{OWN} submit pull {" ".join(job.stages)}
part=$((${{AWS_BATCH_JOB_ARRAY_INDEX:-0}} + 1))
{attempts(job, tries).replace("dvc repro", "dvc repro --pull --allow-missing --no-run-cache")}
[ "$status" -eq 0 ] || exit "$status"
"""
    if job.parts:
        return text
    return f"""{text}dvc push {" ".join(job.stages)}
git add --all
git diff --cached --binary HEAD >"$folder/{STATE}"
copy "$folder" "$jobs" {STATE}
"""


def status(folder: Path) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Return of each job its name, its id and what it does; and what failed parts said last."""
    given = recorded(folder).jobs
    rows: list[tuple[str, str, str]] = []
    failed: list[str] = []
    stopped = False
    with asked():
        client = client_of("batch")
        found = described(client, [one.id for one in given])
        for one in given:
            counts, broken = _states(client, one, found.get(one.id), after="not run" if stopped else "failed")
            stopped |= not {"failed", "cancelled", "not run"}.isdisjoint(counts)
            rows.append((one.name, one.id, ", ".join(f"{number} {state}" for state, number in counts.items())))
            failed += [_told(one, detail) for detail in described(client, broken[:TOLD]).values()]
            failed += [f"{one.name}: {len(broken) - TOLD} more parts failed"] * (len(broken) > TOLD)
    return rows, failed


def logs(folder: Path, name: str | None) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of the logs of a job, or of all, by part."""
    with asked():
        client = client_of("batch")
        for one in recorded(folder).jobs:
            if name in (None, one.name):
                children = [f"{one.id}:{number - 1}" for number in one.numbers] if one.parts > 1 else [one.id]
                for detail in described(client, children).values():
                    if stream := detail.get("container", {}).get("logStreamName"):
                        yield stream, "".join(f"{line}\n" for line in lines(detail))


def unended(given: Sequence[Submitted]) -> list[Submitted]:
    """Return those of the jobs that wait or run."""
    with asked():
        found = described(client_of("batch"), [one.id for one in given])
    return [one for one in given if one.id in found and found[one.id]["status"] not in STATES]


def end(given: Sequence[Submitted]) -> None:
    """End jobs; those that have ended already are left as they are."""
    with asked():
        client = client_of("batch")
        for one in reversed(given):  # so that none begins
            client.terminate_job(jobId=one.id, reason=CANCELLED)


def _states(
    client: Any, job: Submitted, detail: Mapping[str, Any] | None, after: str
) -> tuple[Counter[str], list[str]]:
    """Return how many parts are in each state, and the ids of those that failed; see ``_word``."""
    count = max(job.parts, 1)
    if detail is None:
        return Counter({"forgotten by AWS": count}), []
    whole = _word(detail, after)
    if job.parts < 2:
        return Counter([whole]), [job.id] * (whole == "failed")
    summary = detail.get("arrayProperties", {}).get("statusSummary", {})
    counts = Counter({STATES.get(state, state.lower()): number for state, number in summary.items() if number})
    broken = []
    if counts.pop("failed", 0):
        pages = client.get_paginator("list_jobs").paginate(arrayJobId=job.id, jobStatus="FAILED")
        failed = {one["jobId"]: _word(one, after) for page in pages for one in page["jobSummaryList"]}
        broken = [child for child, state in failed.items() if state == "failed"]
        counts.update(failed.values())
    if not counts:
        return Counter({whole: count}), [job.id] * (whole == "failed")
    return counts, broken


def _word(detail: Mapping[str, Any], after: str) -> str:
    """Return the state of a job or a part in a word; ``after`` is that of one which ended before it began to run.

    AWS also ends those whose machine can't get the image, or lacks a right.
    """
    if detail["status"] == "FAILED" and detail.get("statusReason") == CANCELLED:
        return "cancelled"
    if detail["status"] == "FAILED" and not detail.get("startedAt"):
        return after
    return STATES.get(detail["status"], str(detail["status"]).lower())


def _told(job: Submitted, detail: Mapping[str, Any]) -> str:
    """Return the name of a failed part, its log, and the end of it."""
    container = detail.get("container", {})
    _, _, index = str(detail["jobId"]).partition(":")
    name = f"{job.name} {int(index) + 1}" if index else job.name
    reasons = [text for text in (container.get("reason"), detail.get("statusReason")) if text]
    said = [*lines(detail, SHOWN), *reasons]
    return last(f"{name}: {container.get('logStreamName', 'no log')}", said)
