"""Users who pan over a served bundle, and over its labels in a plain titiler: errors, latencies, memory.

    python -m benchmarks.server_load models/bundle.zip data/scenes.yaml SCENE labels.tif --users 50 --seconds 60

``labels.tif`` is what ``quadrat apply`` or the stage predict has written for the scene. Both servers run alone, one
after the other, each in one process on loopback, and get the same requests: every user sees four by three tiles, and
moves by one tile after a pause. Before users come, each tile is asked for once; so tiles come from memory here, and
from GDAL's blocks there.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import psutil

PORT = 8797

WIDE, HIGH = 4, 3
"""Tiles that a user sees."""

DONE = (200, 204, 404)
"""Answers with a tile, and that there is none, which is 404 in titiler."""

PAUSE = 1.0
"""Seconds that a user looks at them, on average."""

TITILER = """
import sys, uvicorn
from fastapi import FastAPI
from titiler.core.errors import DEFAULT_STATUS_CODES, add_exception_handlers
from titiler.core.factory import TilerFactory
app = FastAPI()
add_exception_handlers(app, DEFAULT_STATUS_CODES)
app.include_router(TilerFactory(path_dependency=lambda: sys.argv[1]).router)
app.get("/health")(lambda: {"status": "ok"})
uvicorn.run(app, port=int(sys.argv[2]), log_config=None, access_log=False, timeout_keep_alive=15)
"""


@dataclass
class Seen:
    """What users have seen."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    anew: int = 0
    """Requests that were sent again, on a new connection."""


@dataclass(frozen=True)
class Tiles:
    """The tiles of a zoom that the image covers."""

    zoom: int
    cols: range
    rows: range

    def around(self, col: int, row: int) -> list[tuple[int, int, int]]:
        """Return the tiles that a user at one of them sees."""
        seen = [(self.zoom, col + right, row + down) for down in range(HIGH) for right in range(WIDE)]
        return [tile for tile in seen if tile[1] in self.cols and tile[2] in self.rows]


async def answer(reader: asyncio.StreamReader) -> tuple[int, int]:
    """Read an answer; return its status, and the length of its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    lengths = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    length = int(lengths[0]) if lengths else 0
    await reader.readexactly(length)
    return status, length


async def user(number: int, tiles: list[Tiles], query: str, until: float, seen: Seen) -> None:
    """Pan until a time, over one connection."""
    chance = random.Random(number)  # noqa: S311 (users, not secrets)
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    level = chance.choice(tiles)
    col, row = chance.choice(level.cols), chance.choice(level.rows)
    held: set[tuple[int, int, int]] = set()
    while time.monotonic() < until:
        wanted = level.around(col, row)
        for tile in [one for one in wanted if one not in held]:
            started = time.perf_counter()
            address = "/tiles/WebMercatorQuad/{}/{}/{}.png{}".format(*tile, query)
            request = f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
            writer.write(request)
            try:
                status, _ = await answer(reader)
            except (asyncio.IncompleteReadError, ConnectionError):
                # servers close connections that nobody uses for a while; browsers, too, then ask on a new one, once
                reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
                seen.anew += 1
                writer.write(request)
                status, _ = await answer(reader)
            seen.seconds.append(time.perf_counter() - started)
            if status not in DONE:
                seen.errors.append(f"{status} {address}")
        held = {*wanted}
        col, row = (
            min(max(value + chance.choice((-1, 0, 1)), some[0]), some[-1])
            for value, some in ((col, level.cols), (row, level.rows))
        )
        await asyncio.sleep(chance.uniform(0.5, 1.5) * PAUSE)
    writer.close()


async def users(count: int, tiles: list[Tiles], query: str, seconds: float) -> Seen:
    """Let users pan at once."""
    seen, until = Seen(), time.monotonic() + seconds
    await asyncio.gather(*(user(number, tiles, query, until, seen) for number in range(count)))
    return seen


def asked(address: str) -> bytes:
    """Return what the server says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{address}", timeout=120) as found:
        return bytes(found.read())


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[psutil.Process]:
    """Run a server, from when it answers; it must be alone on its port, or another one would be measured."""
    socket.create_server(("127.0.0.1", PORT)).close()
    with subprocess.Popen(  # noqa: S603 (this program's own commands)
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            for _ in range(240):
                with contextlib.suppress(OSError):
                    asked("/health")
                    break
                time.sleep(0.5)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


def memory(process: psutil.Process) -> float:
    """Return the memory of a process and its children, MiB."""
    return float(sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]) / 2**20)


def measured(command: list[str], tiles: list[Tiles], query: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return figures of a server."""
    with running(command) as process:
        for level in tiles:
            for col in level.cols:
                for row in level.rows:
                    with contextlib.suppress(urllib.error.HTTPError):
                        asked(f"/tiles/WebMercatorQuad/{level.zoom}/{col}/{row}.png{query}")
        asyncio.run(users(options.users, tiles, query, min(10.0, options.seconds)))  # threads and buffers are there
        before = memory(process)
        seen = asyncio.run(users(options.users, tiles, query, options.seconds))
        after = memory(process)
    times = np.array(seen.seconds) * 1000
    return {
        "requests": len(times),
        "per second": len(times) / options.seconds,
        "errors": len(seen.errors),
        "connected anew": seen.anew,
        "first errors": seen.errors[:3],
        "p50 ms": float(np.percentile(times, 50)),
        "p95 ms": float(np.percentile(times, 95)),
        "p99 ms": float(np.percentile(times, 99)),
        "MiB before": before,
        "MiB after": after,
    }


def levels(scene: str) -> list[Tiles]:
    """Return the tiles of four zooms that a served scene covers."""
    import morecantile

    told = json.loads(asked(f"/tilejson.json?image={quote(scene)}"))
    scheme, found = morecantile.tms.get("WebMercatorQuad"), []
    for zoom in range(max(told["minzoom"], told["maxzoom"] - 2), told["maxzoom"] + 2):
        west, south, east, north = told["bounds"]
        tiles = list(scheme.tiles(west, south, east, north, [zoom]))
        cols, rows = [tile.x for tile in tiles], [tile.y for tile in tiles]
        found.append(Tiles(zoom, range(min(cols), max(cols) + 1), range(min(rows), max(rows) + 1)))
    return found


def main() -> None:
    """Measure both servers, and print figures and ratios as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bundle", "images", "scene", "labels"):
        parser.add_argument(name)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        place = ["--port", str(PORT), "--cache", cache]
        own = [sys.executable, "-m", "quadrat", "serve", options.bundle, "--images", options.images, *place]
        with running(own):
            tiles = levels(options.scene)
        found = {"quadrat": measured(own, tiles, f"?image={quote(options.scene)}&layer=labels", options)}
    print(json.dumps(found["quadrat"], indent=2), file=sys.stderr)  # noqa: T201 (the rest takes as long again)
    plain = [sys.executable, "-c", TITILER, str(Path(options.labels).resolve()), str(PORT)]
    found["titiler"] = measured(plain, tiles, "", options)
    found["ratio"] = {name: found["quadrat"][name] / found["titiler"][name] for name in ("p50 ms", "p95 ms", "p99 ms")}
    found["machine"] = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "users": options.users}
    print(json.dumps(found, indent=2))  # noqa: T201 (the result)


if __name__ == "__main__":
    main()
