"""Boxes, features and points of served images; ``maps`` says what each takes and gives."""

import math
from typing import Annotated

import numpy as np
from fastapi import APIRouter, HTTPException, Path, Query, Response
from rasterio.crs import CRS

from quadrat.geo.grids.windows import Window
from quadrat.server.blocks.gallery import Served
from quadrat.server.drawing.canvas import MOST_BLOCKS
from quadrat.server.drawing.warp import Target, shown
from quadrat.server.drawing.warp import placed as put
from quadrat.server.routes.asked import (
    PNG,
    Box,
    BoxOf,
    Form,
    ImageName,
    MaxSize,
    Names,
    asked,
    image_of,
    placed,
)
from quadrat.server.routes.pictures import box_of, of_box
from quadrat.server.routes.reading import features_as_json, said_of
from quadrat.server.service import Service

EARTH = CRS.from_epsg(4326)

Degree = Annotated[float, Path(ge=-360, le=360, allow_inf_nan=False)]
Side = Annotated[int, Path(ge=1, le=2048)]


def places(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["maps"])

    box = "/bbox/{west},{south},{east},{north}"

    @router.get(box + ".{form}", response_class=Response, responses=PNG)
    def part(box: BoxOf, form: Form, names: Names, max_size: MaxSize = 1024) -> Response:
        """Return a layer in a box."""
        what = asked(service, names)
        return of_box(service, what, box_of(what, box.bounds, box.crs, max_size), form)

    @router.get(box + "/{width}x{height}.{form}", response_class=Response, responses=PNG)
    def part_of_size(box: BoxOf, width: Side, height: Side, form: Form, names: Names) -> Response:
        """Return a layer in a box, in so many px."""
        what = asked(service, names)
        placed(what.served)
        return of_box(service, what, Target.of(box.crs, box.bounds, height, width), form)

    @router.get("/features")
    def features(
        bbox: Annotated[str, Query(max_length=200, description="west,south,east,north, degrees")],
        image: ImageName = None,
    ) -> Response:
        """Return the cells or detections of a box as GeoJSON."""
        return _features(service, image_of(service, image), bbox)

    @router.get("/point/{lon},{lat}")
    def point(
        lon: Degree, lat: Annotated[float, Path(ge=-90, le=90, allow_inf_nan=False)], image: ImageName = None
    ) -> dict[str, object]:
        """Return what is predicted at a place."""
        served = image_of(service, image)
        placed(served)
        (place,) = put(np.array([lon]), np.array([lat]), EARTH, served.grid)
        if not np.isfinite(place).all():
            raise HTTPException(404, "the image isn't there")
        col, row = (math.floor(each) for each in place)
        if not (0 <= row < served.grid.shape[0] and 0 <= col < served.grid.shape[1]):
            raise HTTPException(404, "the image isn't there")
        known = said_of(service, served, Window(row, col, 1, 1))
        return {"coordinates": [lon, lat], "image": served.id, "pixel": [row, col], **known}

    return router


def _features(service: Service, served: Served, bbox: str) -> Response:
    placed(served)
    if not any(layer.kind == "features" for layer in service.layers.values()):
        raise HTTPException(404, "the bundle predicts no cells or detections")
    try:
        west, south, east, north = map(float, bbox.split(","))
    except ValueError:
        raise HTTPException(422, "bbox takes four numbers") from None
    seen = shown(served.grid, Target.of(EARTH, Box(west, south, east, north).bounds, 256, 256))
    if seen is None:
        return features_as_json(service, served, None)
    if len(service.blocks.around(served, seen.window)) > MOST_BLOCKS:
        raise HTTPException(413, "the box is too large: ask for a smaller one, or POST the image to /predict")
    return features_as_json(service, served, service.canvas.features(served, seen.window))
