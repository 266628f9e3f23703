"""Tests whether push and pull work with a remote; errors name remote, bucket, key and a hint.

DVC itself tries for minutes if no server answers, and its errors name neither remote nor key.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from quadrat.errors import RemoteError
from quadrat.team.remote import Remote

TIMEOUT = 5
"""Seconds in which a server must connect and answer."""

AGAIN = "`quadrat remote {url} --key KEY` asks for the secret, and keeps both on this machine"

REFUSALS = {
    "AccessDenied": (
        "{key} may not {step} in bucket '{bucket}'",
        "have the owner of the bucket allow it s3:{action}{only}",
    ),
    "InvalidAccessKeyId": ("the server knows no {key}", AGAIN + "; or the endpoint is of another server"),
    "SignatureDoesNotMatch": ("the secret is not that of {key}", AGAIN),
    "ExpiredToken": ("the session of {key} has expired", "log in again (aws sso login, or a new token)"),
    "NoSuchBucket": (
        "there is no bucket '{bucket}'",
        "correct address or endpoint with `quadrat remote`, or have the bucket made",
    ),
    "RequestTimeTooSkewed": (
        "this machine's clock is wrong",
        "set the clock (timedatectl set-ntp true)",
    ),
    "PermanentRedirect": ("bucket '{bucket}' is in another region", "set AWS_DEFAULT_REGION to the bucket's region"),
}
"""Problem and hint by S3's error code (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html)."""

SAME = {
    "403": "AccessDenied",
    "404": "NoSuchBucket",
    "AllAccessDisabled": "AccessDenied",
    "AuthorizationHeaderMalformed": "PermanentRedirect",
    "InvalidToken": "ExpiredToken",
}

UNREACHED = {
    "NoCredentialsError": (
        "there are no credentials for bucket '{bucket}'",
        AGAIN + "; or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or --profile",
    ),
    "PartialCredentialsError": ("there is a key, but no secret for it", AGAIN),
    "ProfileNotFound": (
        "~/.aws has no such profile",
        "see `aws configure list-profiles`, then `quadrat remote {url} --profile NAME`",
    ),
    "SSLError": (
        "the server's certificate is not trusted",
        "set AWS_CA_BUNDLE, or correct the endpoint: http or https",
    ),
}
"""Problem and hint by botocore's exception, before a server answers."""

STEPS = {"list": "ListBucket", "write": "PutObject", "read": "GetObject", "delete": "DeleteObject"}
"""The steps, and S3's name of their permission."""


def probe(remote: Remote) -> str:
    """List, write, read back and delete a small object below the remote's address; return a summary.

    It takes seconds, also if no server answers. Raises RemoteError if a step fails.
    """
    started = time.monotonic()
    content = uuid.uuid4().bytes
    with _errors_explained(remote, "list"):
        system, base = _opened(remote)
        file = f"{base}/.quadrat-{uuid.uuid4().hex}"
        _list(system, base)
    with _errors_explained(remote, "write"):
        system.pipe_file(file, content)
    try:
        with _errors_explained(remote, "read"):
            got = system.cat_file(file)
    finally:
        with _errors_explained(remote, "delete"):
            system.rm_file(file)
    if got != content:
        raise RemoteError(f"{remote} returns other bytes than were written", expected=content, got=got)
    return f"{remote}: list, write, read and delete in {time.monotonic() - started:.1f} s"


def _opened(remote: Remote) -> tuple[Any, str]:
    """Return the remote's file system, with DVC's settings and short timeouts, and the path in it."""
    from dvc.fs import get_cloud_fs
    from fsspec.implementations.local import LocalFileSystem

    if "://" not in remote.url:
        return LocalFileSystem(auto_mkdir=True), remote.url
    if not remote.url.startswith("s3://"):
        raise RemoteError(f"{remote} is of a kind that can't be tested", hint="see whether dvc push works")
    from s3fs import S3FileSystem

    kind, settings, path = get_cloud_fs({}, **remote.settings, connect_timeout=TIMEOUT, read_timeout=TIMEOUT)
    arguments = dict(kind(**settings).fs_args)
    arguments["config_kwargs"] = {**arguments["config_kwargs"], "retries": {"total_max_attempts": 1}}
    system = S3FileSystem(**{**arguments, "use_listings_cache": False, "skip_instance_cache": True})
    system.retries = 1
    return system, path


def _list(system: Any, base: str) -> None:
    try:
        system.ls(base)
    except FileNotFoundError as error:  # an empty prefix, or a folder that DVC will make
        if _cause(error) is not None:
            raise


@contextmanager
def _errors_explained(remote: Remote, step: str) -> Iterator[None]:
    """Raise RemoteError, with problem and hint, for errors of a step."""
    try:
        yield
    except (OSError, ValueError, BotoCoreError, ClientError) as error:
        problem, hint = _words(error, remote, step)
        raise RemoteError(f"{remote}: {problem}", got=_cause(error) or error, hint=hint) from error


def _words(error: BaseException, remote: Remote, step: str) -> tuple[str, str]:
    """Return the problem and the hint."""
    cause, address = _cause(error), urlsplit(remote.url)
    if isinstance(cause, ClientError):
        code = str(cause.response["Error"].get("Code"))
        problem, hint = REFUSALS.get(SAME.get(code, code), ("the server refuses to {step}", "see what it says"))
    elif isinstance(cause, BotoCoreError):
        unanswered = f"no server answers in {TIMEOUT} s", "check --endpoint, the network, proxy and whether it runs"
        problem, hint = UNREACHED.get(type(cause).__name__, unanswered)
    else:
        problem, hint = "can't {step}", "check that the folder is there, may be written, and has room"
    only = "" if step == "list" else " (until then dvc pull works, dvc push does not)"
    words = {"key": _key(remote), "bucket": address.netloc, "url": remote.url, "step": step, "action": STEPS[step]}
    return problem.format(**words), hint.format(**words, only=only)


def _cause(error: BaseException | None) -> BaseException | None:
    """Return botocore's error behind an OSError of s3fs."""
    while error is not None and not isinstance(error, BotoCoreError | ClientError):
        error = error.__cause__ or error.__context__
    return error


def _key(remote: Remote) -> str:
    """Return the access key and its source as text, without the secret."""
    from botocore.session import Session

    if key := remote.settings.get("access_key_id"):
        return f"key '{key}' of .dvc/config.local"
    try:
        found = Session(profile=remote.settings.get("profile")).get_credentials()
    except BotoCoreError:
        found = None
    return "key" if found is None else f"key '{found.access_key}' of {found.method}"
