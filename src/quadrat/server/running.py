"""quadrat serve: starts the server on an address, and ends it well."""

import asyncio
import logging
import os
import signal
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from quadrat.bundle.loading import read_bundle
from quadrat.errors import QuadratError
from quadrat.runtime.progress import console, warn
from quadrat.server.app import application
from quadrat.server.guard.slow import Patient
from quadrat.server.jobs.own import owned
from quadrat.server.limits import Access, Limits
from quadrat.server.service import Service, default_place
from quadrat.serving.new_images import Reading
from quadrat.serving.ready import Plan, Ready

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Addresses that only this machine reaches."""

ANY = ("0.0.0.0", "::")  # noqa: S104 (they are recognised, not bound)

HEAD = 1 << 15
"""Bytes of the head of a request."""

OPTIONS: Any = {"limit_max_requests": None, "server_header": False, "proxy_headers": False, "ws": "none"}


@dataclass(frozen=True)
class Asked:
    """Options of the command."""

    images: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    allowed: tuple[str, ...] = ()
    """Further names of the server."""
    origins: tuple[str, ...] = ()
    cache: Path | None = None
    cache_bytes: int = 2 << 30


def serve(bundle: Path, asked: Asked, reading: Reading, plan: Plan, limits: Limits | None = None) -> None:
    """Serve a bundle until a signal ends it; raise QuadratError if bundle, images or address can't be used."""
    limits = limits or Limits()
    read_bundle(bundle)
    with _bound(asked) as socket_, owned(default_place(asked.cache, asked.cache_bytes), bundle) as (place, copy):
        ready = Ready.of(read_bundle(copy), plan)
        service = Service.of(ready, asked.images, reading, place, limits)
        for served in service.gallery:
            for line in served.warnings:
                warn(line)
        if asked.host not in LOCAL and asked.token is None:
            warn("everyone who reaches this machine may use the server: set --token, or QUADRAT_TOKEN")
        address = f"http://{'localhost' if asked.host in ANY else asked.host}:{socket_.getsockname()[1]}/"
        console.print(f"{service.title}: {len(service.gallery)} images at {address}", highlight=False, soft_wrap=True)
        access = Access((*Access().hosts, asked.host, *asked.allowed), asked.token, asked.origins)
        config = uvicorn.Config(
            application(service, access),
            http=type("Protocol", (Patient,), {"pause": limits.pause}),
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=int(limits.ending),
            limit_concurrency=limits.connections,
            h11_max_incomplete_event_size=HEAD,
            **OPTIONS,
        )
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
        _run(uvicorn.Server(config), socket_, limits)


def _run(server: uvicorn.Server, socket_: socket.socket, limits: Limits) -> None:
    """Run until a signal, after which what runs has the limit's time, and some seconds for jobs and blocks."""
    signal.set_wakeup_fd(-1)  # the watcher of commands would kill it after fewer seconds
    last = 2 * limits.ending + 10

    def end(number: int, frame: Any) -> None:
        timer = threading.Timer(last, os._exit, (128 + number,))
        timer.daemon = True
        timer.start()
        server.handle_exit(number, frame)

    install = server.capture_signals
    with install():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        asyncio.run(server._serve([socket_]))  # noqa: SLF001 (serve() would set its own handlers again)


def _bound(asked: Asked) -> socket.socket:
    """Return the open address; raise QuadratError if it is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in asked.host else socket.AF_INET
    # asyncio sends at once only on sockets that say they are TCP's: else each answer waits 40 ms for the client's word
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((asked.host, asked.port))
    except OSError as error:
        found.close()
        raise QuadratError(
            "the address can't be used",
            expected="a free port of this machine",
            got=f"{asked.host}:{asked.port}: {error}",
            hint="give another --port, or 0 for any",
        ) from error
    return found
