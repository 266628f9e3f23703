"""What the server is: bundle, images, legend, health, metrics, and the list of routes without a foreign page."""

import html
import json
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import HTMLResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from quadrat.errors import BundleError
from quadrat.qgis.styles import RAMP
from quadrat.runtime.formats.parsing import parsed
from quadrat.server.blocks.gallery import Served
from quadrat.server.routes.results import forms
from quadrat.server.routes.tilesets import SCHEME, zooms
from quadrat.server.service import Service


def about(service: Service, app: FastAPI) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["about"])

    @router.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(_listed(app.openapi()))

    @router.head("/health", include_in_schema=False)
    @router.get("/health")
    def health() -> dict[str, str]:
        """Say that the server answers."""
        return {"status": "ok"}

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def metrics() -> Response:
        """Return counters for Prometheus."""
        return Response(generate_latest(service.measured()), media_type=CONTENT_TYPE_LATEST)

    @router.get("/info")
    def info() -> dict[str, Any]:
        """Return what the bundle predicts, takes, and was made of, and which images are served."""
        return {**_bundle(service), "images": [described(service, served) for served in service.gallery]}

    @router.get("/images")
    def images() -> dict[str, Any]:
        """Return the images that are served."""
        return {"images": [described(service, served) for served in service.gallery]}

    @router.get(
        "/legend",
        response_model=None,
        responses={200: {"content": {"application/json": {}, "text/html": {}, "image/png": {}}}},
    )
    def legend(f: Literal["json", "html", "png"] = "json") -> Response | dict[str, Any]:
        """Return the colours of classes, and of values."""
        if f == "json":
            return _legend(service)
        if f == "html":
            return HTMLResponse(_legend_page(service))
        from quadrat.server.drawing.legend import legend_png

        return Response(legend_png(service.task.classes), media_type="image/png")

    return router


def described(service: Service, served: Served) -> dict[str, Any]:
    """Return what there is to know of an image."""
    low, high = zooms(service, served, SCHEME)
    return {
        "id": served.id,
        "bounds": served.bounds,
        "crs": None if served.grid.crs is None else served.grid.crs.to_string(),
        "shape": served.grid.shape,
        "gsd": served.gsd,
        "minzoom": low,
        "maxzoom": high,
        "warnings": served.warnings,
    }


def _bundle(service: Service) -> dict[str, Any]:
    bundle = service.bundle
    card, limits = bundle.card, service.limits
    texts = {
        name: parsed(bundle.files.read(f"{name}.json"), BundleError, bundle.path) for name in ("metrics", "provenance")
    }
    layers = [{"name": one.name, "kind": one.kind, "bands": one.bands} for one in service.layers.values()]
    return {
        "title": service.title,
        "task": card.task.kind,
        "classes": _legend(service)["classes"],
        "layers": layers,
        "bands": [band.model_dump(mode="json") for band in card.bands],
        "gsd": card.gsd,
        "predict": {"window_size": service.ready.predict.window_size, "stride": service.ready.predict.stride},
        "model": card.model_dump(mode="json", by_alias=True, exclude={"origin", "statistics", "bands"}),
        "metrics": texts["metrics"],
        "origin": texts["provenance"],
        "md5": service.md5,
        "formats": forms(service),
        "limits": {"upload_bytes": limits.upload, "direct_px": limits.direct, "job_px": limits.pixels},
    }


def _legend(service: Service) -> dict[str, Any]:
    classes = [{"id": n, "name": c.name, "color": c.color} for n, c in enumerate(service.task.classes)]
    found: dict[str, Any] = {"classes": classes}
    for layer in service.layers.values():
        if layer.kind == "values":
            found["values"] = {"range": layer.range, "colors": RAMP}
    return found


def _legend_page(service: Service) -> str:
    rows = "".join(
        f'<li><span style="background:{c.color}"></span>{html.escape(c.name)}</li>' for c in service.task.classes
    )
    style = "li{list-style:none}span{display:inline-block;width:1em;height:1em;margin-right:.5em}"
    return f"<!doctype html><meta charset=utf-8><title>Legend</title><style>{style}</style><ul>{rows}</ul>"


def _listed(document: dict[str, Any]) -> str:
    """Return the routes of an OpenAPI document as a page."""
    rows = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            named = operation.get("parameters", [])
            shown = ", ".join(html.escape(each["name"]) for each in named if each["in"] == "query")
            words = html.escape(operation.get("description", operation.get("summary", "")))
            rows.append(
                f"<tr><td>{method.upper()}<td><code>{html.escape(path)}</code><td><code>{shown}</code><td>{words}"
            )
    style = "body{font:16px sans-serif;margin:2em}td{padding:.3em 1em .3em 0;vertical-align:top}"
    title = html.escape(json.dumps(document["info"]["title"])[1:-1])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{style}</style><h1>{title}</h1>"
        '<p>The <a href="openapi.json">OpenAPI document</a>, <a href="info">the bundle</a>, '
        '<a href="images">its images</a>, <a href="legend?f=html">the legend</a>.'
        f"<table><tr><th>Method<th>Route<th>Query<th>What it does{''.join(rows)}</table>"
    )
