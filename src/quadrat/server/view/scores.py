"""What eval found: scores with their intervals, and the places where most is wrong."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.warp import transform

from quadrat.runtime.run import Paths
from quadrat.server.view.rasters import Raster
from quadrat.server.view.scene import SceneLayers
from quadrat.server.view.workspace import Workspace

BLOCK = 64
"""Side of a place, px."""

LEAST = 1 / 8
"""Part of a place that must be labelled."""

MOST = 12
"""Places that are listed."""

RIGHT, WRONG, LOST = 0, 1, 2
"""Values of the error layer."""


def scores(paths: Paths) -> list[dict[str, Any]]:
    """Return each metric of all scenes of the test, with its interval; none before eval has run."""
    evaluated, intervals = _read(paths.eval_metrics), _read(paths.intervals)
    spread = intervals.get("predictions", {}).get("model", {}).get("overall", {})
    found = []
    for name, value in evaluated.get("overall", {}).items():
        if name == "support" or not isinstance(value, (int, float)):
            continue
        low, high = spread.get(name) or (None, None)
        found.append({"name": name, "value": value, "low": low, "high": high})
    return found


def _read(path: Path) -> Any:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def worst(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the places where most is wrong, of all scored scenes: where to go, and what it says."""
    found = [place for scene, layers in workspace.scored() for place in _of_scene(workspace, scene.id, layers)]
    return sorted(found, key=lambda place: (-place["wrong"], place["scene"]))[:MOST]


def _of_scene(workspace: Workspace, scene: str, layers: SceneLayers) -> Iterator[dict[str, Any]]:
    place = workspace.place(workspace.scene(scene))
    if place.bounds is None:
        return
    zoom = place.zoom
    if "error" in layers.rasters:
        for lon, lat, wrong, of in _blocks(layers.rasters["error"]):
            what = f"{wrong} of {of} px wrong"
            yield {"scene": scene, "at": [zoom, lat, lon], "wrong": wrong, "text": what}
        return
    degrees = BLOCK * place.grid.gsd_of(place.area) / 111_320
    for (lon, lat), wrong in _cells(layers.shapes.get("error", {}), degrees):
        yield {"scene": scene, "at": [zoom, lat, lon], "wrong": wrong, "text": f"{wrong} wrong or missed"}


def _blocks(error: Raster) -> Iterator[tuple[float, float, int, int]]:
    """Yield the middle, and the wrong and labelled px, of the blocks in which most is wrong."""
    with rasterio.open(error.path) as dataset:
        if dataset.crs is None:
            return
        places = []
        for row in range(0, dataset.height, BLOCK):
            values = dataset.read(1, window=((row, min(row + BLOCK, dataset.height)), (0, dataset.width)))
            starts = np.arange(0, dataset.width, BLOCK)
            wrong = np.add.reduceat(((values == WRONG) | (values == LOST)).sum(0), starts)
            labelled = np.add.reduceat((values <= LOST).sum(0), starts)
            each = zip(wrong.tolist(), labelled.tolist(), starts.tolist(), strict=True)
            places += [(w, of, row, col) for w, of, col in each if w and of >= LEAST * BLOCK**2]
            places = sorted(places, reverse=True)[:MOST]
        for wrong, labelled, row, col in places:
            x, y = dataset.transform @ (col + BLOCK / 2, row + BLOCK / 2)
            (lon,), (lat,) = transform(dataset.crs, "EPSG:4326", [x], [y])
            yield lon, lat, wrong, labelled


def _cells(error: Mapping[str, Any], side: float) -> Iterator[tuple[tuple[float, float], int]]:
    """Yield the middle of cells of ``side`` degrees, and how many objects in it are wrong or missed."""
    counts: dict[tuple[int, int], int] = {}
    for feature in error.get("features", ()):
        if feature["properties"]["kind"] == "right":
            continue
        lon, lat = np.mean(feature["geometry"]["coordinates"][0], axis=0)[:2]
        cell = int(lon // side), int(lat // side)
        counts[cell] = counts.get(cell, 0) + 1
    for (col, row), count in sorted(counts.items(), key=lambda each: -each[1])[:MOST]:
        yield ((col + 0.5) * side, (row + 0.5) * side), count
