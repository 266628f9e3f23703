"""Errors as answers: what a client may know of them, and no more."""

import logging
import re
import secrets
from pathlib import PurePath
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from quadrat.errors import BusyError, DiskError, InputError, QuadratError, printable
from quadrat.server.blocks.worker import BusyWorker
from quadrat.server.guard.bodies import BodyError
from quadrat.server.metering import Meters

log = logging.getLogger("quadrat.server")

AGAIN = 5
"""Seconds after which a client may ask again."""

MOST_SHOWN = 10
"""Values of a request that an answer says are wrong; it doesn't repeat them."""


class Problem(BaseModel):
    """What is wrong: a text; ``problem``, ``expected``, ``got`` and ``hint``; or the parameters that don't fit."""

    detail: str | dict[str, str] | list[dict[str, Any]]
    error: str | None = None
    """Number of a failure in the server's log."""


PROBLEMS: dict[int | str, dict[str, Any]] = {
    number: {"model": Problem, "description": text}
    for number, text in (
        (400, "The request can't be read."),
        (401, "The token is missing."),
        (403, "A page of another host has sent it."),
        (404, "There is no such thing."),
        (405, "The route has no such method."),
        (406, "The bundle's results have no such form."),
        (408, "The request came too slowly."),
        (409, "The image has just changed."),
        (413, "It is too large."),
        (415, "The body is no image."),
        (422, "A parameter or an image doesn't fit."),
        (429, "Too many images or jobs: ask again after Retry-After."),
        (500, "The server failed."),
        (503, "Too much is to be predicted: ask again after Retry-After."),
        (507, "The disk is full."),
    )
}
"""For the OpenAPI document."""

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

    @app.exception_handler(RequestValidationError)
    def unfit(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        known = [{"loc": each["loc"], "msg": each["msg"], "type": each["type"]} for each in error.errors()]
        return JSONResponse({"detail": known[:MOST_SHOWN]}, 422)

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
    return {name: without_folders(str(value)) for name, value in shown.items() if value is not None}


FOLDERS = re.compile(r"(?<![\w:/])/(?:[^/\s'\"]+/)+")
"""Folders of a path, which tell of the server."""


def without_folders(text: str) -> str:
    """Return a text without the folders of paths."""
    return printable(FOLDERS.sub("", text))[:1000]
