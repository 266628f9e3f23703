"""What is predicted at a place, and features, as JSON."""

import json
from typing import Any

import numpy as np
import shapely
from fastapi import Response
from rasterio.crs import CRS
from shapely.geometry import mapping

from quadrat.geo.geometry.footprints import on_earth
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window
from quadrat.server.blocks.gallery import Served
from quadrat.server.blocks.making import BOUNDS, FIELD, Arrays
from quadrat.server.drawing.canvas import class_ids
from quadrat.server.drawing.layers import MapLayer
from quadrat.server.drawing.warp import applied
from quadrat.server.service import Service

EARTH = CRS.from_epsg(4326)


def said_of(service: Service, served: Served, pixel: Window) -> dict[str, Any]:
    """Return what is predicted of a pixel; ``maps`` says how."""
    found: dict[str, Any] = {}
    for layer in service.layers.values():
        if layer.kind == "features":
            features = service.canvas.features(served, pixel)
            found["features"] = properties(service, features)
        elif layer.kind != "image":
            found |= _value(service, layer, _pixel(service, served, layer, pixel))
    return found


def _pixel(service: Service, served: Served, layer: MapLayer, pixel: Window) -> np.ndarray:
    (block,) = service.blocks.get(served, "predicted", service.blocks.around(served, pixel), [layer.name])
    values: np.ndarray = block.arrays[layer.name][:, *pixel.slices(block.window)].ravel()
    return values


def _value(service: Service, layer: MapLayer, values: np.ndarray) -> dict[str, Any]:
    written = layer.written
    assert written is not None
    if layer.kind == "classes":
        return _class(service, int(values[0]))
    missing = np.isnan(values[0]) if layer.kind == "values" else values[0] == IGNORE
    if layer.kind == "values":
        return {"value": None if missing else float(values[0])}
    shares = [None if missing else round(float(value) * written.scale, 4) for value in values]
    return {layer.name: dict(zip(layer.bands, shares, strict=True)) if len(shares) > 1 else shares[0]}


def _class(service: Service, number: int) -> dict[str, Any]:
    if number >= len(service.task.classes):
        return {"class": None, "class_id": None}
    one = service.task.classes[number]
    return {"class": one.name, "class_id": number, "color": one.color}


def properties(service: Service, features: Arrays) -> list[dict[str, Any]]:
    """Return the fields of features."""
    fields = {name.removeprefix(FIELD): values for name, values in features.items() if name.startswith(FIELD)}
    found = []
    for number, class_id in enumerate(class_ids(features).tolist()):
        own = {name: _plain(values[number]) for name, values in fields.items() if name != "class_id"}
        found.append({**_class(service, class_id), **own})
    return found


def _plain(value: Any) -> Any:
    return round(float(value), 6) if isinstance(value, np.floating) else int(value)


def features_as_json(service: Service, served: Served, features: Arrays | None) -> Response:
    """Return features as GeoJSON."""
    listed: list[dict[str, Any]] = []
    if features is not None and len(features[BOUNDS]):
        boxes = np.asarray(shapely.box(*features[BOUNDS].T), object)
        on_map = shapely.transform(boxes, lambda points: applied(served.grid.transform, points))
        shapes = shapely.orient_polygons(on_earth(np.asarray(on_map, object), served.grid.crs))
        for shape, fields in zip(shapes, properties(service, features), strict=True):
            listed.append({"type": "Feature", "geometry": mapping(shape), "properties": fields})
    content = {"type": "FeatureCollection", "features": listed}
    return Response(json.dumps(content), media_type="application/geo+json")
