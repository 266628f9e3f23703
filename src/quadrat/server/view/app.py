"""quadrat view: the page with a map over the run in the workspace.

The routes that the page asks, in the form of those of ``quadrat serve`` (``routes.maps``): ``/info``, ``/legend``,
``/tiles/WebMercatorQuad/{z}/{x}/{y}.png``, ``/preview.png``, ``/features``, ``/point/{lon},{lat}``; and of its own
``/stamp``, which changes with the run's files, and ``/worst``, the places where most is wrong. Nothing is predicted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, FastAPI, HTTPException, Query, Response
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse
from morecantile import Tile
from rasterio.warp import transform

from quadrat.qgis.styles import RAMP
from quadrat.server.drawing.warp import Target
from quadrat.server.guard.access import Gate
from quadrat.server.guard.answers import add_answers
from quadrat.server.limits import Access
from quadrat.server.metering import Meters
from quadrat.server.routes.asked import Number, Zoom, matrices, matrix_system
from quadrat.server.routes.page import add_page
from quadrat.server.view.rasters import Raster
from quadrat.server.view.scene import ERROR_COLORS, KIND_COLORS, SceneLayers
from quadrat.server.view.scores import scores, worst
from quadrat.server.view.workspace import Workspace, colors_of
from quadrat.tasks.common.parts import scoring_of

if TYPE_CHECKING:
    from quadrat.scenes.scene import Scene

SCHEME = "WebMercatorQuad"
SIDE = 256
NEVER = {"Cache-Control": "no-store"}
"""The run changes; addresses hold its stamp, but an old stamp may be asked for again."""

SceneName = Annotated[str, Query(alias="image", max_length=250, description="Id of a scene.")]
LayerName = Annotated[str, Query(alias="layer", max_length=50)]


BESIDE = "beside "
"""Begins the names of layers of another run."""

COMPARED = ("prediction", "error")
"""The layers of another run that are shown."""


@dataclass(frozen=True)
class Shown:
    """A run, and another of the same scenes beside it."""

    run: Workspace
    beside: Workspace | None = None
    name: str = "beside"
    """What the other one is called."""

    def listed(self, scene: "Scene") -> tuple[list[str], list[str]]:
        """Return the names of a scene's layers, and of its outlines."""
        names, outlines = self.run.listed(scene)
        others = [] if self.beside is None else self.beside.listed(scene)[0]
        return [*names, *(f"{BESIDE}{name}" for name in COMPARED if name in others)], outlines

    def made(self, name: str, layer: str = "") -> tuple[SceneLayers, str]:
        """Return the layers of a scene that hold ``layer``, and what it is called among them; 404 for no scene."""
        try:
            scene = self.run.scene(name)
        except KeyError:
            raise HTTPException(404, "there is no such scene") from None
        if self.beside is not None and layer.startswith(BESIDE):
            return self.beside.layers(scene), layer.removeprefix(BESIDE)
        return self.run.layers(scene), layer

    def raster(self, name: str, layer: str) -> Raster:
        """Return a raster of a scene; 404 if there is none."""
        layers, own = self.made(name, layer)
        if own not in layers.rasters:
            raise HTTPException(404, "the scene has no such layer")
        return layers.rasters[own]

    def stamp(self, scene: "Scene") -> str:
        """Return a digest of a scene's files."""
        return self.run.stamp(scene) + ("" if self.beside is None else self.beside.stamp(scene))

    def stamps(self) -> str:
        """Return a digest of all files."""
        return self.run.stamps() + ("" if self.beside is None else self.beside.stamps())

    def scores(self) -> list[dict[str, Any]]:
        """Return the scores, with those of the other run."""
        found = scores(self.run.paths)
        if self.beside is None:
            return found
        others = {one["name"]: one["value"] for one in scores(self.beside.paths)}
        return [{**one, "other": others.get(one["name"])} for one in found]


def application(shown: Shown, access: Access) -> FastAPI:
    """Return the application."""
    workspace = shown.run
    app = FastAPI(title=workspace.params.bundle.title, docs_url=None, redoc_url=None, redirect_slashes=False)
    add_answers(app, Meters())
    for router in (_about(shown), _maps(shown)):
        app.include_router(router)
    add_page(app)
    app.add_middleware(Gate, access=access)
    return app


def _about(shown: Shown) -> APIRouter:
    router, workspace = APIRouter(), shown.run

    @router.get("/info")
    def info() -> dict[str, Any]:
        """Return the scenes, their layers, and the scores."""
        params = workspace.params
        images = [_told(shown, scene.id) for scene in workspace.scenes]
        return {
            "title": params.bundle.title,
            "task": params.task.kind,
            "classes": colors_of(params.task.classes),
            "layers": _layers(shown, {name for image in images for name in image["layers"]}),
            "bands": [{"name": name} for name in params.bands],
            "images": images,
            "run": {
                "scores": shown.scores(),
                "stamp": shown.stamps(),
                "beside": None if shown.beside is None else shown.name,
            },
        }

    @router.get("/legend")
    def legend() -> dict[str, Any]:
        """Return the colours of classes, and of values."""
        ends = getattr(workspace.params.task, "range", (0.0, 1.0))
        return {"classes": colors_of(workspace.params.task.classes), "values": {"range": ends, "colors": RAMP}}

    @router.get("/stamp")
    def stamp() -> dict[str, str]:
        """Return a digest of the run's files."""
        return {"stamp": shown.stamps()}

    @router.get("/worst")
    def places() -> dict[str, Any]:
        """Return the places where most is wrong."""
        return {"worst": worst(workspace)}

    @router.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(
            "<!DOCTYPE html><p>This server shows a run; <code>quadrat serve</code> has routes for others."
        )

    return router


def _layers(shown: Shown, names: set[str]) -> list[dict[str, Any]]:
    task = shown.run.params.task
    objects = scoring_of(task).class_map is None
    drawn = colors_of(scoring_of(task).painted)
    kinds: dict[str, dict[str, Any]] = {
        "image": {"kind": "image"},
        "prediction": {"kind": "features" if objects else "classes"},
        "error": {"kind": "error"},
        "labels": {"kind": "labels"},
        "values": {"kind": "values"},
        "uncertainty": {"kind": "values", "range": [0, 1]},
        "baseline": {"kind": "classes"},
    }
    outlined = task.matches  # detections are drawn as outlines, maps of others as rasters
    kinds["error"] = {
        "kind": "features" if outlined else "classes",
        "classes": KIND_COLORS if outlined else ERROR_COLORS,
    }
    kinds["labels"] = {"kind": "features" if outlined else "classes", "classes": drawn}
    for name in COMPARED:
        kinds[f"{BESIDE}{name}"] = {**kinds[name], "title": f"{name} of {shown.name}"}
    return [{"name": name, "bands": [], **about} for name, about in kinds.items() if name in names]


def _told(shown: Shown, name: str) -> dict[str, Any]:
    scene = shown.run.scene(name)
    place = shown.run.place(scene)
    layers, overlays = shown.listed(scene)
    return {
        "id": scene.id,
        "title": f"{scene.id} ({scene.split})",
        "bounds": place.bounds,
        "shape": place.grid.shape,
        "minzoom": 0,
        "maxzoom": place.zoom,
        "layers": layers,
        "overlays": overlays if place.bounds else [],
        "stamp": shown.stamp(scene),
    }


def _maps(shown: Shown) -> APIRouter:
    router = APIRouter()

    @router.get(f"/tiles/{SCHEME}/{{z}}/{{x}}/{{y}}.png", response_class=Response)
    def tile(z: Zoom, x: Number, y: Number, scene: SceneName, layer: LayerName) -> Response:
        """Return a tile of a layer."""
        found = shown.raster(scene, layer)
        bounds = matrices(SCHEME).xy_bounds(Tile(x, y, z))
        return _picture(found.draw(Target.of(matrix_system(SCHEME), bounds, SIDE, SIDE)))

    @router.get("/preview.png", response_class=Response)
    def preview(scene: SceneName, layer: LayerName, max_size: Annotated[int, Query(ge=1, le=2048)] = 1024) -> Response:
        """Return a layer of a whole scene, on its own grid."""
        return _picture(shown.raster(scene, layer).whole(max_size))

    @router.get("/features")
    def features(scene: SceneName, layer: LayerName) -> Mapping[str, Any]:
        """Return objects or areas as GeoJSON."""
        layers, own = shown.made(scene, layer)
        found = layers.shapes.get(own)
        if found is None:
            raise HTTPException(404, "the scene has no such layer")
        return found

    @router.get("/point/{lon},{lat}")
    def point(
        lon: Annotated[float, InPath(ge=-360, le=360, allow_inf_nan=False)],
        lat: Annotated[float, InPath(ge=-90, le=90, allow_inf_nan=False)],
        scene: SceneName,
    ) -> dict[str, Any]:
        """Return what is predicted at a place, and its label."""
        layers, _ = shown.made(scene)
        if layers.grid.crs is None:
            raise HTTPException(404, "the scene has no place on Earth")
        (x,), (y,) = transform("EPSG:4326", layers.grid.crs, [lon], [lat])
        col, row = (int(each // 1) for each in ~layers.grid.transform @ (x, y))
        if not (0 <= row < layers.grid.shape[0] and 0 <= col < layers.grid.shape[1]):
            raise HTTPException(404, "the scene isn't there")
        return {"coordinates": [lon, lat], "image": scene, "pixel": [row, col], **_values(layers, row, col)}

    return router


def _values(layers: SceneLayers, row: int, col: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, raster in layers.rasters.items():
        if name in {"image", "error"}:
            continue
        value = raster.at(row, col)
        if not raster.classes:
            found["value" if name == "values" else name] = value
            continue
        one = None if value is None else raster.classes[int(value)]
        if name == "prediction":
            found |= {"class": one and one.name, "color": one and one.color}
        else:
            found[{"labels": "label"}.get(name, name)] = one and one.name
    return found


def _picture(content: bytes | None) -> Response:
    if content is None:
        return Response(status_code=204)
    return Response(content, media_type="image/png", headers=NEVER)
