"""Asks AWS about jobs and their logs, by botocore."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from quadrat.errors import ClusterError

DESCRIBED = 100
"""Jobs that one request may ask for."""

GROUP = "/aws/batch/job"
"""Where logs are of job definitions that don't say it."""


def lines(detail: Mapping[str, Any], most: int | None = None) -> list[str]:
    """Return the lines of a job's log, or the last of them; none where there is no log yet."""
    client, container = client_of("logs"), detail.get("container", {})
    stream = container.get("logStreamName")
    group = container.get("logConfiguration", {}).get("options", {}).get("awslogs-group", GROUP)
    found: list[str] = []
    if not stream:
        return found
    words: dict[str, Any] = {"logGroupName": group, "logStreamName": stream, "startFromHead": most is None}
    if most:
        words["limit"] = most
    while True:
        try:
            page = client.get_log_events(**words)
        except client.exceptions.ResourceNotFoundException:
            return found
        found += [event["message"] for event in page["events"]]
        if most or page["nextForwardToken"] == words.get("nextToken"):
            return found
        words["nextToken"] = page["nextForwardToken"]


def described(client: Any, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what AWS tells of jobs, by id, in order; it forgets them after days."""
    found: dict[str, dict[str, Any]] = {}
    for begin in range(0, len(ids), DESCRIBED):
        some = client.describe_jobs(jobs=list(ids[begin : begin + DESCRIBED]))["jobs"]
        found |= {one["jobId"]: one for one in some}
    return {one: found[one] for one in ids if one in found}


def client_of(service: str) -> Any:
    """Return botocore's client of a service, with the credentials and the region of the environment or of ~/.aws."""
    from botocore.session import get_session

    return get_session().create_client(service)


@contextmanager
def asked() -> Iterator[None]:
    """Raise ClusterError for errors of AWS."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise ClusterError(
            "AWS refuses, or isn't reached",
            got=error,
            hint="check the credentials, the region (AWS_DEFAULT_REGION), and the names of the queue and the job "
            "definition (docs/scale.md)",
        ) from error
