"""The DVC remote of a team: its address in git, and the access of one machine."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from quadrat.errors import RemoteError

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html"""

STORAGE = "storage"
"""The default name of the remote."""

NAMES = {"endpoint": "endpointurl", "key": "access_key_id", "secret": "secret_access_key", "profile": "profile"}
"""DVC's names of the fields of Access."""


@dataclass(frozen=True)
class Access:
    """The access of one machine to a bucket; None keeps a setting, "" removes it."""

    endpoint: str | None = None
    """URL of the server; AWS if unset."""
    key: str | None = None
    """Access key id; if unset, from the environment or ~/.aws."""
    secret: str | None = None
    profile: str | None = None
    """A profile of ~/.aws instead of a key."""


@dataclass(frozen=True)
class Remote:
    """A remote with DVC's merged settings."""

    name: str
    url: str
    settings: Mapping[str, Any]

    @property
    def verified(self) -> bool:
        """Whether DVC compares fetched files with their hashes."""
        return bool(self.settings.get("verify"))

    def __str__(self) -> str:
        """Return name, address and server."""
        endpoint = self.settings.get("endpointurl") or os.environ.get("AWS_ENDPOINT_URL")
        at = f" at {endpoint}" if endpoint and self.url.startswith("s3://") else ""
        return f"remote '{self.name}' ({self.url}{at})"


def set_remote(folder: Path, address: str, access: Access) -> Remote:
    """Set the default remote of the project around ``folder`` to ``address``: s3://bucket/prefix, or a folder.

    The URL goes to .dvc/config, which git keeps; endpoint and credentials go to .dvc/config.local, which stays on this
    machine. Other settings are kept. ``verify`` makes DVC compare fetched files with their hashes, so that damaged
    objects are noticed. Raises RemoteError if the address is wrong.
    """
    from dvc.config import Config

    url = _checked(address, access)
    place = _place(folder)
    config = Config(str(place))
    with config.edit("repo", validate=False) as shared:
        name = shared["core"].setdefault("remote", STORAGE)
        shared["remote"].setdefault(name, {}).update(url=url, verify="true")
        for option in NAMES.values():
            shared["remote"][name].pop(option, None)
    with config.edit("local") as local:
        settings = local["remote"].setdefault(name, {})
        settings.pop("url", None)
        for field, option in NAMES.items():
            value = getattr(access, field) if url.startswith("s3://") else ""
            if value is not None:
                settings.pop(option, None)
            if value:
                settings[option] = value
        if not settings:
            del local["remote"][name]
    (place / "config.local").chmod(0o600)
    remote = default_remote(folder)
    assert remote is not None
    return remote


def default_remote(folder: Path) -> Remote | None:
    """Return the default remote of the project around ``folder``; None if there is none."""
    from dvc.config import Config, ConfigError

    try:
        config = Config(str(_place(folder)))
        name = config["core"].get("remote")
        if name is None:
            return None
        settings = config["remote"][name]
    except (ConfigError, KeyError) as error:
        raise RemoteError(
            "DVC's settings can't be read", file=".dvc/config, .dvc/config.local", got=error, hint="see dvc config"
        ) from error
    url = str(settings["url"])
    return Remote(name, url if "://" in url else str(Path(url).resolve()), settings)


def _place(folder: Path) -> Path:
    """Return the folder .dvc of the project around ``folder``."""
    found = next((path for path in (folder.resolve(), *folder.resolve().parents) if (path / ".dvc").is_dir()), None)
    if found is None:
        raise RemoteError("this is no DVC project", file=folder.resolve(), hint="go to its folder, or run dvc init")
    return found / ".dvc"


def _checked(address: str, access: Access) -> str:
    """Return the address in the form of DVC's settings."""
    if "://" not in address:
        return address  # DVC writes relative paths from .dvc
    parts = urlsplit(address)
    if parts.scheme != "s3" or not BUCKET.fullmatch(parts.netloc) or parts.query or parts.fragment:
        raise RemoteError(
            "this is no address of a remote",
            expected="s3://bucket/prefix, or a folder",
            got=address,
            hint="the server goes to --endpoint, credentials to --key or --profile; for Google, Azure, SSH and others "
            "see dvc remote modify",
        )
    if access.endpoint and not re.fullmatch(r"https?://[^/@\s]+/?", access.endpoint):
        raise RemoteError(
            "this is no address of a server", expected="https://host or http://host:port", got=access.endpoint
        )
    return address.rstrip("/")
