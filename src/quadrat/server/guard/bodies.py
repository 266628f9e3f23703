"""Bounds the bodies of requests, in bytes and in time, while they arrive."""

import asyncio
import json
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quadrat.server.limits import Limits

LARGE = ("/predict",)
"""Routes that take images."""


class BodyError(Exception):
    """A body is too large or too slow; ``status`` is 413 or 408."""

    def __init__(self, status: int, problem: str) -> None:
        """Say why."""
        super().__init__(problem)
        self.status, self.problem = status, problem


class Bounded:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        """Stand before ``app``."""
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413 or 408 where a body is too large or too slow."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._limits.upload if scope["path"] in LARGE else self._limits.body
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > most:
            await _refuse(send, 413, f"the request has more than {most} bytes")
            return
        body = _Body(receive, most, self._limits)
        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, body, sent)
        except BodyError as error:
            if not begun:
                await _refuse(send, error.status, error.problem)


class _Body:
    """Receives a body, and raises BodyError where it breaks a bound."""

    def __init__(self, receive: Receive, most: int, limits: Limits) -> None:
        self._receive, self._most, self._limits = receive, most, limits
        self._count, self._started, self._whole = 0, time.monotonic(), False

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()  # which waits for the client to go
        left = self._limits.receiving - (time.monotonic() - self._started)
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, min(left, self._limits.pause)))
        except TimeoutError:
            raise BodyError(408, "the request came too slowly") from None
        self._count += len(message.get("body", b""))
        if self._count > self._most:
            raise BodyError(413, f"the request has more than {self._most} bytes")
        self._whole = not message.get("more_body", False)
        return message


async def _refuse(send: Send, status: int, problem: str) -> None:
    body = json.dumps({"detail": problem}).encode()
    headers: list[Any] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
