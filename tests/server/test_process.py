"""The server as a process: how it ends, what a kill leaves, and how it deals with slow clients."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from quadrat.server.blocks.stored import unpacked
from tests.project import ROOT, environment, until

SLOW = """
import sys, time
from dataclasses import replace
from pathlib import Path
from quadrat.server import running
from quadrat.server.limits import Limits
from quadrat.serving.new_images import Reading
from quadrat.serving.ready import Plan, Ready

plain = Ready.load

def load(ready):
    plain(ready)
    model, batch = ready.loaded
    vars(ready)["loaded"] = (lambda pixels: (time.sleep({pause}), model(pixels))[1], 1)

Ready.load = load
limits = replace(Limits(), pause=1.5, receiving=3.0, uploads=1, connections=40)
asked = running.Asked(images=sys.argv[2], port=0, cache=Path(sys.argv[3]))
running.serve(Path(sys.argv[1]), asked, Reading(), Plan("onnx"), limits)
"""
"""A server whose model takes its time, with little patience for clients."""


class Server:
    """A server's process and address."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        self.port = 0
        threading.Thread(target=self._read, daemon=True).start()
        until(lambda: self.port or process.poll() is not None, 60)
        assert self.port, "\n".join(self.lines)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        until(self._answers, 60)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
            if found:
                self.port = int(found[1])

    def _answers(self) -> bool:
        try:
            return self.client.get("/health").status_code == 200
        except httpx.TransportError:
            return False

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


@contextmanager
def started(project: Path, cache: Path, pause: float) -> Iterator[Server]:
    command = [sys.executable, "-c", SLOW.format(pause=pause), project / "bundle.zip", project / "scenes.yaml", cache]
    paths = {"PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        [*map(str, command)],
        env={**environment(), **paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            server = Server(process)
            with closing(server.client):
                yield server
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def server(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with started(project, tmp_path_factory.mktemp("cache"), 0) as found:
        yield found


def test_sigterm_lets_what_runs_end(project: Path, tmp_path: Path) -> None:
    with started(project, tmp_path, 0.1) as server:
        answers: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answers.append(server.client.get("/preview?image=all")))
        asking.start()
        until(lambda: re.search(r'quadrat_requests_total\{route="/metrics"', server.client.get("/metrics").text), 10)
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        asking.join(20)
        assert answers
        assert answers[0].status_code == 200
        assert server.process.wait(20) == -signal.SIGTERM
        with pytest.raises(httpx.TransportError):
            server.client.get("/health")
    (block,) = (tmp_path / "blocks").glob("*.block")
    assert unpacked(block.read_bytes())


@pytest.mark.slow
def test_a_server_that_is_killed_leaves_no_half_block_and_the_next_ends_its_jobs(project: Path, tmp_path: Path) -> None:
    about = {"params": {"f": "tif", "bands": "B1,B2,B3"}, "headers": {"prefer": "respond-async"}}
    with started(project, tmp_path, 0.1) as server:
        sent = {"file": ("i.tif", (project / "image.tif").read_bytes())}
        answer = server.client.post("/predict", files=sent, **about)  # type: ignore[arg-type] # it has both
        place = answer.headers["location"]
        until(lambda: server.client.get(place).json()["status"] == "running", 20)
        asking = threading.Thread(target=_ask_in_vain, args=(server,))
        asking.start()
        time.sleep(0.7)
        server.process.kill()
        server.process.wait(10)
        asking.join(20)
    for block in (tmp_path / "blocks").glob("*.block"):
        assert unpacked(block.read_bytes())
    with started(project, tmp_path, 0) as server:
        assert server.client.get("/preview?image=all").status_code == 200
        until(lambda: server.client.get(place).json()["status"] == "successful", 60)
        assert server.client.get(f"{place}/results").content[:3] == b"II*"


def _ask_in_vain(server: Server) -> None:
    try:
        server.client.get("/preview?image=all")
    except httpx.TransportError:
        return


def ended_after(connection: socket.socket) -> tuple[float, bytes]:
    """Return the seconds until the server closes a connection, and what it says until then."""
    started, said = time.monotonic(), b""
    with closing(connection), suppress(ConnectionResetError):  # of who still sends
        while piece := connection.recv(4096):
            said += piece
    return time.monotonic() - started, said


def test_a_client_that_says_nothing_is_let_go(server: Server) -> None:
    seconds, said = ended_after(server.raw())
    assert 1 < seconds < 6
    assert not said


def test_a_client_that_says_its_head_letter_by_letter_is_let_go(server: Server) -> None:
    connection = server.raw()
    ends = threading.Event()

    def drip() -> None:
        for letter in b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 1000:
            if ends.wait(0.1):
                return
            try:
                connection.send(bytes([letter]))
            except OSError:
                return

    threading.Thread(target=drip, daemon=True).start()
    seconds, _ = ended_after(connection)
    ends.set()
    assert seconds < 6


def test_a_client_whose_body_stops_or_drips_is_let_go(server: Server) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/tiff\r\nContent-Length: 100000\r\n\r\n"
    stopped = server.raw()
    stopped.sendall(head + b"II*\0")
    seconds, said = ended_after(stopped)
    assert b" 408 " in said
    assert seconds < 6
    dripping = server.raw()
    dripping.sendall(head)

    def drip() -> None:
        try:
            for _ in range(100):
                dripping.send(b"x")
                time.sleep(0.2)
        except OSError:
            return

    threading.Thread(target=drip, daemon=True).start()
    seconds, said = ended_after(dripping)
    assert b" 408 " in said or not said
    assert 2 < seconds < 8


def test_more_images_at_once_than_it_takes_are_told_to_come_again(server: Server) -> None:
    first = server.raw()
    first.sendall(
        b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/tiff\r\nContent-Length: 1000\r\n\r\nII*\0"
    )
    time.sleep(0.3)
    answer = server.client.post("/predict", content=b"II*\0", headers={"content-type": "image/tiff"})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    ended_after(first)


def test_many_connections_that_wait_do_not_keep_others_out_for_long(server: Server) -> None:
    many = [server.raw() for _ in range(60)]
    until(server._answers, 10)
    for connection in many:
        connection.close()


def test_heads_are_bounded(server: Server) -> None:
    with closing(server.raw()) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 200_000)
        said = connection.recv(200)
    assert b" 400 " in said or not said
