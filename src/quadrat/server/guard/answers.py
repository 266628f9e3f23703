"""Errors as answers: what a client may know of them, and no more."""

import logging
import re
import secrets
from pathlib import PurePath
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from quadrat.errors import BusyError, DiskError, InputError, QuadratError, printable
from quadrat.server.blocks.worker import BusyWorker
from quadrat.server.guard.bodies import BodyError
from quadrat.server.metering import Meters

log = logging.getLogger("quadrat.server")

AGAIN = 5
"""Seconds after which a client may ask again."""

STATUS: tuple[tuple[type[QuadratError], int], ...] = ((BusyError, 503), (DiskError, 507), (InputError, 409))
"""Of errors that are not about what was sent (422)."""


class TooMuchError(HTTPException):
    """The server has too much to do now: 503, or 429 where the client itself asks for too much."""

    def __init__(self, detail: str, status: int = 503) -> None:
        """Say when to ask again."""
        super().__init__(status, detail, {"Retry-After": str(AGAIN)})


def add_answers(app: FastAPI, meters: Meters) -> None:
    """Answer errors of routes."""

    @app.exception_handler(BusyWorker)
    def busy(_: Request, __: Exception) -> JSONResponse:
        meters.refused.inc()
        detail = "the server has too much to predict: ask again"
        return JSONResponse({"detail": detail}, 503, {"Retry-After": str(AGAIN)})

    @app.exception_handler(BodyError)
    def broken(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, BodyError)
        return JSONResponse({"detail": error.problem}, error.status, {"Connection": "close"})

    @app.exception_handler(QuadratError)
    def wrong(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, QuadratError)
        status = next((number for kind, number in STATUS if isinstance(error, kind)), 422)
        headers = {"Retry-After": str(AGAIN)} if status in {409, 503} else None
        return JSONResponse({"detail": told(error)}, status, headers)

    @app.exception_handler(Exception)
    def failed(request: Request, error: Exception) -> JSONResponse:
        number = secrets.token_hex(8)
        log.error("error %s: %s %s", number, request.method, printable(request.url.path), exc_info=error)
        return JSONResponse({"detail": "the server failed; its log says why", "error": number}, 500)


def told(error: QuadratError) -> dict[str, Any]:
    """Return an error for a client: names of files without their folders."""
    shown = {"problem": error.problem, "expected": error.expected, "got": error.got, "hint": error.hint}
    if error.file is not None:
        shown["file"] = PurePath(str(error.file)).name
    return {name: _plain(str(value)) for name, value in shown.items() if value is not None}


FOLDERS = re.compile(r"(?<![\w:/])/(?:[^/\s'\"]+/)+")
"""Folders of a path, which tell of the server."""


def _plain(text: str) -> str:
    """Return a text without the folders of paths."""
    return printable(FOLDERS.sub("", text))[:1000]
