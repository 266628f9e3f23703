"""What the server counts, for Prometheus."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TIMES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Borders of the histogram of latencies, s."""


class Meters:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        """Start at 0."""
        own = self.registry = CollectorRegistry()
        self.requests = Counter("quadrat_requests", "Requests by route and status.", ("route", "status"), registry=own)
        self.seconds = Histogram("quadrat_seconds", "Time to answer.", ("route",), buckets=TIMES, registry=own)
        self.blocks = Counter(
            "quadrat_blocks", "Blocks by kind and where they came from.", ("kind", "by"), registry=own
        )
        self.making = Histogram(
            "quadrat_block_seconds", "Time to make a block.", ("kind",), buckets=TIMES, registry=own
        )
        self.waiting = Gauge("quadrat_queue", "Pieces of work that wait.", ("kind",), registry=own)
        self.kept = Gauge("quadrat_cache_bytes", "Size of the blocks on disk.", registry=own)
        self.jobs = Gauge("quadrat_jobs", "Jobs by status.", ("status",), registry=own)
        self.refused = Counter("quadrat_refused", "Requests that were refused because of load.", registry=own)


class Counted:
    """ASGI middleware that counts answers, and how long they took, by route."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        """Stand before ``app``."""
        self._app, self._meters = app, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._meters.requests.labels(route, status).inc()
            self._meters.seconds.labels(route).observe(time.perf_counter() - started)
