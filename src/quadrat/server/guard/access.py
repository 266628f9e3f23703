"""Lets in requests that name this server, come from its own pages or from none, and have the token if there is one."""

import hmac
import json
from collections.abc import Mapping, Sequence
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from quadrat.server.limits import Access

COOKIE = "quadrat-token"
"""Name of the cookie that holds the token, as pictures of a page can't send a header."""

SAFE = ("GET", "HEAD", "OPTIONS")

OPEN = ("/health",)
"""Routes that need no token."""

PREFLIGHT = (
    (b"access-control-allow-methods", b"GET, POST, DELETE"),
    (b"access-control-allow-headers", b"authorization, content-type, prefer"),
)
"""What pages of other hosts that may ask are told before they do."""

POLICY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    ),
)
"""Headers of every answer: pages load nothing from elsewhere."""


class Gate:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        """Stand before ``app``."""
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400, 401 or 403, or let the request in."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no web sockets
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["method"] == "OPTIONS" and self._shared(headers):
            await _answer(send, 200, "ask", [*self._shared(headers), *PREFLIGHT])
            return
        refused = self._refused(scope, headers)
        if refused is not None:
            await _answer(send, *refused)
            return
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if self._access.token and scope["path"] == "/" and given:
            await _enter(send, self._matches(given), given)
            return

        async def sent(message: Mapping[str, object]) -> None:
            if message["type"] == "http.response.start":
                there = message.get("headers") or ()
                message = {**message, "headers": [*there, *POLICY, *self._shared(headers)]}  # type: ignore[misc]
            await send(dict(message))

        await self._app(scope, receive, sent)

    def _refused(self, scope: Scope, headers: Mapping[str, str]) -> tuple[int, str] | None:
        if _name(headers.get("host", "")) not in self._access.hosts:
            return 400, "the server isn't called so: start it with --host, or --allow-host NAME"
        origin = headers.get("origin")
        foreign = origin is not None and origin not in self._access.origins and not _same(origin, headers["host"])
        crossing = headers.get("sec-fetch-site") in {"cross-site", "same-site"} and origin not in self._access.origins
        if scope["method"] not in SAFE and (foreign or crossing):
            return 403, "a page of another host may not send anything here"
        if self._access.token is None or scope["path"] in OPEN:
            return None
        query = scope["path"] == "/" and b"token=" in scope["query_string"]
        if query or self._matches(_token(headers)):
            return None
        return 401, "the server asks for its token: Authorization: Bearer TOKEN, or open /?token=TOKEN in a browser"

    def _matches(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self._access.token or "").encode())

    def _shared(self, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        origin = headers.get("origin")
        if origin is None or origin not in self._access.origins:
            return []
        return [(b"access-control-allow-origin", origin.encode()), (b"vary", b"Origin")]


def _name(host: str) -> str:
    """Return a host without its port."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    name = parts.hostname or ""
    return "" if parts.username or parts.path else f"[{name}]" if ":" in name else name


def _same(origin: str, host: str) -> bool:
    return origin.partition("://")[2].lower() == host.lower()


def _token(headers: Mapping[str, str]) -> str:
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


async def _answer(send: Send, status: int, problem: str, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
    body = json.dumps({"detail": problem}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *POLICY, *more]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _enter(send: Send, known: bool, token: str) -> None:  # noqa: FBT001 (what was found)
    if not known:
        await _answer(send, 401, "this isn't the token")
        return
    cookie = f"{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/"
    headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"content-length", b"0"), *POLICY]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
