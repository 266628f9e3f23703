"""Tiles, pictures and points of served images; and the list of all routes.

Images and layers are asked for by name, never by address: ``image=NAME`` (of ``/images``; left out, the first) and
``layer=NAME`` (of ``/info``: ``image``, and of the bundle's task ``labels``, ``scores``, ``uncertainty``,
``confidence``, ``values``, ``cells`` or ``detections``; left out, the first prediction). Of ``scores`` and
``confidence``, ``class=NAME`` says which; left out, the first. Pictures are PNG with opacity. Errors are
``{"detail": …}``, where detail is a text or an object with ``problem``, ``expected``, ``got``, ``hint``. 503 and 429
carry ``Retry-After``.

Maps (this module)

- ``GET /tiles/{tms}/{z}/{x}/{y}`` and ``….png`` ``?image&layer&class&tilesize=256``: a tile, 256 or 512 px. 204 where
  the image is not. Where too much would have to be predicted, the outline of the image with the header
  ``X-Quadrat-Hint``; the layer ``image`` is shown from afar instead.
- ``GET /{tms}/tilejson.json``, ``/tilejson.json`` ``?image&layer&class``: TileJSON 3 with ``tiles``, ``minzoom``,
  ``maxzoom``, ``bounds``, ``center``. Below ``minzoom`` tiles are outlines.
- ``GET /WMTSCapabilities.xml``: WMTS 1.0 of all images and layers, for QGIS and others.
- ``GET /preview`` and ``.png`` ``?image&layer&class&max_size=1024``: the whole image on its own grid.
- ``GET /bbox/{west},{south},{east},{north}.{png|tif}`` and ``…/{width}x{height}.{png|tif}``
  ``?image&layer&class&coord_crs=EPSG:4326&max_size=1024``: a box of a CRS, on a grid of that CRS, at the image's own
  resolution unless it has more than ``max_size`` px. ``tif`` has the stored values, as the stage predict writes them.
- ``GET /features`` ``?image&bbox=west,south,east,north``: GeoJSON of the cells or detections in a box of degrees.
- ``GET /point/{lon},{lat}`` ``?image``: ``{"coordinates": [lon, lat], "image", "pixel": [row, col], "class",
  "class_id", "color", "scores": {class: 0…1}, "uncertainty": 0…1, "value", "features": [{"class", "class_id", "score",
  …}]}``, of which there is what the task has; ``class`` is null where nothing is predicted. 404 outside of the image.

About (``routes.about``)

- ``GET /``: the page, or where there is none, the list of routes. ``GET /docs``, ``/openapi.json``.
- ``GET /info``: ``{"title", "task", "classes": [{"id", "name", "color"}], "layers": [{"name", "kind", "bands"}],
  "bands": [{"name", "unit", "scale", "offset", "nodata", "dtype"}], "gsd", "predict", "model", "metrics", "origin",
  "md5", "images": […], "limits": {…}, "formats": […]}``. ``kind`` is ``image``, ``classes``, ``shares`` (scores),
  ``values`` or ``features``.
- ``GET /images``: ``{"images": [{"id", "bounds": [west, south, east, north] | null, "crs", "shape": [height, width],
  "gsd", "minzoom", "maxzoom", "warnings"}]}``; as in ``/info``. East is above 180 of an image across 180°.
- ``GET /legend`` ``?f=json|html|png``: classes with colours; of values, the ramp of colours.
- ``GET /health``: ``{"status": "ok"}``. ``GET /metrics``: Prometheus.

Predictions of images that are sent (``routes.predict``, ``routes.jobs``)

- ``POST /predict`` ``?f=zip|tif|geojson|parquet|gpkg&layer&bands&scale&offset&nodata&unchecked&resolution``: a GeoTIFF
  as the body (``image/tiff`` or ``application/octet-stream``), or as the part ``file`` of ``multipart/form-data``. The
  answer is the result, of an image of at most ``limits.direct_px``, with headers ``X-Quadrat-Warning``; of a larger
  one, or with ``Prefer: respond-async``, 201 with ``Location: /jobs/{id}`` and the job. ``f`` may be left out where
  ``Accept`` says it; else zip.
- ``GET /jobs``: ``{"jobs": [job…]}``. ``GET /jobs/{id}``: a job: ``{"jobID", "type": "process", "processID": "predict",
  "status": "accepted|running|successful|failed|dismissed", "message", "progress": 0…100, "created", "started",
  "finished", "updated", "warnings": […], "links": [{"rel", "href"}]}``. ``DELETE /jobs/{id}``: cancels a job, and
  forgets one that has ended. ``GET /jobs/{id}/results``: the result, 404 while there is none.
"""

from fastapi import APIRouter, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool

from quadrat.server.drawing.warp import Target
from quadrat.server.routes.asked import (
    PNG,
    MatrixName,
    MaxSize,
    Named,
    Names,
    Number,
    TileSize,
    Zoom,
    asked,
    known,
    matrices,
    placed,
    tile_target,
)
from quadrat.server.routes.pictures import drawn, picture, whole
from quadrat.server.routes.tilesets import capabilities, tilejson
from quadrat.server.service import Service


def maps(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["maps"])

    @router.get("/tiles/{tms}/{z}/{x}/{y}", response_class=Response, responses=PNG)
    @router.get("/tiles/{tms}/{z}/{x}/{y}.png", response_class=Response, responses=PNG)
    async def tile(
        tms: MatrixName, z: Zoom, x: Number, y: Number, names: Names, tilesize: TileSize = "256"
    ) -> Response:
        """Return a tile of a layer."""
        scheme = matrices(tms)
        if z > scheme.maxzoom:
            raise HTTPException(404, "the set has no such tile matrix")
        matrix = scheme.matrix(z)
        if x >= matrix.matrixWidth or y >= matrix.matrixHeight:
            raise HTTPException(404, "the tile matrix has no such tile")
        target = tile_target(tms, (x, y, z), int(tilesize))
        served = known(service, names)
        if served is not None:  # in memory, a tile needs no thread
            what = asked(service, names, served)
            held = service.canvas.held(what.served, what.layer, what.band, target)
            if held is not None:
                return picture(held)
        return await run_in_threadpool(_tile, service, names, target)

    @router.get("/{tms}/tilejson.json")
    def tilejson_of_matrices(request: Request, tms: MatrixName, names: Names) -> dict[str, object]:
        """Return the TileJSON of a layer."""
        return tilejson(service, request, asked(service, names), tms)

    @router.get("/tilejson.json")
    def tilejson_by_default(request: Request, names: Names) -> dict[str, object]:
        """Return the TileJSON of a layer for WebMercatorQuad."""
        return tilejson(service, request, asked(service, names), "WebMercatorQuad")

    @router.get("/preview", response_class=Response, responses=PNG)
    @router.get("/preview.png", response_class=Response, responses=PNG)
    def preview(names: Names, max_size: MaxSize = 1024) -> Response:
        """Return a layer of the whole image, on its own grid."""
        what = asked(service, names)
        return picture(whole(service, what, max_size))

    @router.get("/WMTSCapabilities.xml", response_class=Response, responses={200: {"content": {"application/xml": {}}}})
    def wmts(request: Request) -> Response:
        """Return the WMTS document of all images and layers."""
        return Response(capabilities(service, str(request.base_url)), media_type="application/xml")

    return router


def _tile(service: Service, names: Named, target: Target) -> Response:
    what = asked(service, names)
    placed(what.served)
    found = drawn(service, what, target)
    return Response(status_code=204) if found is None else picture(found)
