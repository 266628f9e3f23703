"""A web server of a folder that knows ranges, as object stores do."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

ROOT = Path(__file__).parents[1]


@dataclass
class Served:
    """An address, and what was asked of it: (path, bytes sent)."""

    url: str
    asked: list[tuple[str, int]] = field(default_factory=list)
    gone: bool = False
    says: tuple[str, ...] = ("ETag", "Last-Modified")
    """By which headers it tells one content of a file from another."""


class _Server(ThreadingHTTPServer):
    def __init__(self, folder: Path, forbidden: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.forbidden = folder, forbidden
        self.found = Served(f"http://127.0.0.1:{self.server_port}")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        if self.server.found.gone:  # a connection that is kept open outlives the server
            self.close_connection = True
            return
        file = self.server.folder / unquote(self.path.lstrip("/").partition("?")[0])
        forbidden = self.server.forbidden in self.path
        if forbidden or not file.is_file():
            status = HTTPStatus.FORBIDDEN if forbidden else HTTPStatus.NOT_FOUND
            self._send(status, b"", {}, body=body)
            return
        content = file.read_bytes()
        told = {
            "ETag": f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"',
            "Last-Modified": self.date_time_string(int(file.stat().st_mtime)),
        }
        headers = {"Accept-Ranges": "bytes"} | {name: told[name] for name in self.server.found.says}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self._send(HTTPStatus.OK, content, headers, body=body)
            return
        first, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self._send(HTTPStatus.PARTIAL_CONTENT, content[first : last + 1], headers, body=body)

    def _send(self, status: HTTPStatus, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.server.found.asked.append((self.path, len(content)))
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path, forbidden: str = "secret") -> Iterator[Served]:
    """Serve a folder's files on this machine alone; paths that hold ``forbidden`` are refused."""
    server = _Server(folder, forbidden)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.found
    finally:
        server.found.gone = True
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def served_apart(folder: Path) -> Iterator[str]:
    """Serve as ``served`` does, from a process of its own, and give the address.

    GDAL as pyogrio calls it keeps Python's lock while it waits for an answer, which could then come from no thread.
    """
    command = [sys.executable, "-m", "tests.http_server", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


if __name__ == "__main__":
    with served(Path(sys.argv[1])) as found:
        print(found.url, flush=True)  # noqa: T201 the answer to who started this
        sys.stdin.read()
