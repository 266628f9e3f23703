"""Jobs and their results, in the manner of OGC API – Processes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from quadrat.server.jobs.store import Job
from quadrat.server.routes.results import TYPES, Wanted, result
from quadrat.server.service import Service

JobName = Annotated[str, InPath(max_length=64, description="The job's name.")]


def jobs(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["predict"])

    @router.get("/jobs")
    def every_job() -> dict[str, Any]:
        """Return all jobs."""
        return {"jobs": [told(job, state) for job, state in service.jobs.store.listed()], "links": []}

    @router.get("/jobs/{name}")
    def job(name: JobName) -> dict[str, Any]:
        """Return the state of a job."""
        return told(*_found(service, name))

    @router.delete("/jobs/{name}")
    def dismiss(name: JobName) -> dict[str, Any]:
        """Cancel a job; forget one that has ended."""
        found, _ = _found(service, name)
        return {**told(found, service.jobs.cancel(name)), "status": "dismissed"}

    @router.get("/jobs/{name}/results", response_class=Response, responses={200: {"description": "The result."}})
    def results(name: JobName) -> Response:
        """Return the result of a job."""
        found, state = _found(service, name)
        if state["status"] != "successful":
            raise HTTPException(404, f"the job has no result: it is {state['status']}")
        want = Wanted(found.asked["form"], found.asked["layer"])
        return as_file(result(service, want, found.out / found.asked["id"]), want, None)

    return router


def _found(service: Service, name: str) -> tuple[Job, dict[str, Any]]:
    try:
        return service.jobs.store.get(name)
    except KeyError:
        raise HTTPException(404, "there is no such job") from None


def told(job: Job, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job as clients see it."""
    links = [{"rel": "self", "href": f"/jobs/{job.id}"}]
    if state["status"] == "successful":
        media = TYPES[str(job.asked["form"])]
        rel = "http://www.opengis.net/def/rel/ogc/1.0/results"
        links.append({"rel": rel, "href": f"/jobs/{job.id}/results", "type": media})
    warnings = job.asked.get("warnings", [])
    return {"jobID": job.id, "type": "process", "processID": "predict", **state, "warnings": warnings, "links": links}


def as_file(path: Path, want: Wanted, after: BackgroundTask | None) -> Response:
    """Return the file of a result."""
    return FileResponse(path, media_type=TYPES[want.form], filename=path.name, background=after)
