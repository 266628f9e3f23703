"""The application: routes, what guards them, and what is counted."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI

from quadrat.server.guard.access import Gate
from quadrat.server.guard.answers import PROBLEMS, add_answers
from quadrat.server.guard.bodies import Bounded
from quadrat.server.limits import Access
from quadrat.server.metering import Counted
from quadrat.server.routes.about import about
from quadrat.server.routes.jobs import jobs
from quadrat.server.routes.maps import maps
from quadrat.server.routes.page import add_page
from quadrat.server.routes.places import places
from quadrat.server.routes.predict import predict
from quadrat.server.service import Service

THREADS = 64
"""Requests that are answered at once; of them, some may wait for blocks."""


def application(service: Service, access: Access) -> FastAPI:
    """Return the application of a service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        service.start()
        yield
        await anyio.to_thread.run_sync(service.close)

    app = FastAPI(
        title=service.title,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=PROBLEMS,
    )

    add_answers(app, service.meters)
    for router in (about(service, app), predict(service), jobs(service), places(service), maps(service)):
        app.include_router(router)
    add_page(app)
    app.add_middleware(Counted, meters=service.meters)
    app.add_middleware(Bounded, limits=service.limits)
    app.add_middleware(Gate, access=access)
    return app
