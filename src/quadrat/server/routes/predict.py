"""Predictions of images that are sent; large ones become jobs."""

import asyncio
import shutil
import threading
from collections.abc import Mapping
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from quadrat.errors import ParamsError
from quadrat.server.blocks.worker import BusyWorker
from quadrat.server.guard.answers import TooMuchError
from quadrat.server.jobs.runner import FullError
from quadrat.server.routes.jobs import as_file, told
from quadrat.server.routes.results import TYPES, Wanted, layer_options, result, wanted
from quadrat.server.routes.uploads import looked_at, received
from quadrat.server.service import Service
from quadrat.serving.new_images import Offered, Reading, offered, side

Form = Literal["zip", "tif", "geojson", "parquet", "gpkg"]
Text = Annotated[str | None, Query(max_length=2000)]
Finite = Annotated[float | None, Query(allow_inf_nan=False)]

BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/tiff": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            },
        },
    }
}
"""For the OpenAPI document: the body is read as it comes."""

BYTES = 4
"""Of a value of a band or a score."""

WARNING = "X-Quadrat-Warning"
"""Header with a warning about the image."""

DIRECT = 600.0
"""Seconds that a prediction of a small image may take, with those before it."""


@dataclass(frozen=True)
class About:
    """What a request says of an image, as options of ``quadrat apply``."""

    bands: Text = None
    scale: Finite = None
    offset: Finite = None
    nodata: Finite = None
    unchecked: bool = False
    resolution: Annotated[str | None, Query(max_length=40)] = None

    def reading(self) -> Reading:
        """Return it for reading; raise ParamsError for what can't be."""
        names = None if self.bands is None else tuple(name.strip() for name in self.bands.split(","))
        return Reading(names, self.scale, self.offset, self.nodata, self.unchecked, side(self.resolution))

    def options(self, layers: Mapping[str, Any]) -> list[str]:
        """Return it as options of the command."""
        given = [
            f"--{name}={getattr(self, name)!s}"
            for name in ("bands", "scale", "offset", "nodata", "resolution")
            if getattr(self, name) is not None
        ]
        written = [f"--layer={name}={_as_yaml(value)}" for name, value in layers.items()]
        return [*given, *["--unchecked"] * self.unchecked, *written]


@dataclass(frozen=True)
class Judged:
    """An image that was sent, as the bundle takes it."""

    one: Offered
    pixels: int
    """Px that are predicted."""
    warnings: tuple[str, ...]


def predict(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["predict"])
    receiving = asyncio.Semaphore(service.limits.uploads)

    @router.post(
        "/predict",
        response_class=Response,
        openapi_extra=BODY,
        responses={
            200: {"content": {media.partition(";")[0]: {} for media in TYPES.values()}, "description": "The result."},
            201: {"content": {"application/json": {}}, "description": "A job, at the header Location."},
        },
    )
    async def predict_image(
        request: Request,
        about: Annotated[About, Depends()],
        f: Annotated[Form | None, Query(description="Form of the result; left out: as Accept says, else zip.")] = None,
        layer: Annotated[str | None, Query(max_length=50, description="Of tif, which layer.")] = None,
    ) -> Response:
        """Predict an image that is sent."""
        want = wanted(service, f, layer, request.headers.get("accept", ""))
        reading = about.reading()
        if receiving.locked():
            raise TooMuchError("too many images are being received: send it again later", 429)
        async with receiving:
            folder = await run_in_threadpool(_room, service)
            try:
                file = await received(request, folder)
                judged = await run_in_threadpool(_judged, service, file, reading)
                if judged.pixels > service.limits.direct or "respond-async" in request.headers.get("prefer", ""):
                    return await run_in_threadpool(_job, service, file, (about, judged), want)
                found = await run_in_threadpool(_direct, service, judged.one, want, folder)
            except BaseException:
                await run_in_threadpool(shutil.rmtree, folder, True)  # noqa: FBT003 (ignore errors)
                raise
        answer = as_file(found, want, BackgroundTask(shutil.rmtree, folder, ignore_errors=True))
        for line in judged.warnings:
            answer.headers.append(WARNING, line.encode("ascii", "backslashreplace").decode())
        return answer

    return router


def _room(service: Service) -> Path:
    try:
        service.jobs.check_room()
    except FullError:
        raise TooMuchError("too many jobs wait, or their disk is full: send it again later", 429) from None
    return service.jobs.store.room()


def _judged(service: Service, file: Path, reading: Reading) -> Judged:
    """Return an image as the bundle takes it; raise QuadratError if it can't be predicted."""
    stored, limits = looked_at(file, service.limits), service.limits
    (one,) = offered(str(file), service.bundle.card.inputs, reading)
    one = service.ready.resampled(one, reading)
    side = service.ready.predict.window_size
    with one.open(service.bundle.card.inputs) as scene:
        height, width = (max(each, side) for each in scene.grid.shape)  # a window is predicted whole
    pixels, row = max(stored, height * width), side * width * BYTES * (len(service.bands) + len(service.task.names))
    for wrong, expected, got in (
        (pixels > limits.pixels, f"{limits.pixels} px of windows", f"{pixels} px"),
        (row > limits.row, f"{limits.row >> 20} MB in a row of windows", f"{row >> 20} MB"),
    ):
        if wrong:
            raise ParamsError("the image would be too large", expected=f"at most {expected}", got=got)
    return Judged(one, pixels, tuple(service.ready.warnings(one, reading)))


def _job(service: Service, file: Path, sent: tuple[About, Judged], want: Wanted) -> Response:
    about, judged = sent
    options = about.options(layer_options(service, want))
    asked = {"file": file.name, "id": judged.one.id, "options": options, "form": want.form, "layer": want.layer}
    job = service.jobs.add(file.parent, {**asked, "warnings": judged.warnings})
    state = told(*service.jobs.store.get(job.id))
    return JSONResponse(state, 201, {"Location": f"/jobs/{job.id}", "Preference-Applied": "respond-async"})


def _direct(service: Service, one: Offered, want: Wanted, folder: Path) -> Path:
    """Predict an image among the blocks of maps, in the thread of the model; return the result."""
    ready = service.ready.with_layers(layer_options(service, want))
    out = folder / "out" / one.id
    gone = threading.Event()

    def work() -> None:
        if not gone.is_set():
            ready.write(one, out)

    future = service.blocks.workers["predicted"].submit(str(folder), work)
    wait([future], DIRECT)
    if not future.done():
        gone.set()
        raise BusyWorker
    future.result()
    return result(service, want, out)


def _as_yaml(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
