"""The layers of a scene of a run, made when somebody looks at it."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np

from quadrat.chips.store import INDEX
from quadrat.geo.grids.grid import Grid
from quadrat.prediction.reader import Prediction
from quadrat.prediction.writers import file_of
from quadrat.qgis.compared import ERRORS, KINDS, labelled_objects, write_maps, wrong_objects
from quadrat.qgis.images import write_image
from quadrat.server.view.rasters import Raster
from quadrat.server.view.shapes import MOST, geojson
from quadrat.tasks.common.outputs import RasterLayer
from quadrat.tasks.common.parts import layers_of, scoring_of
from quadrat.tasks.common.truth import Truth

if TYPE_CHECKING:
    from quadrat.evaluation.pictures import Pictures
    from quadrat.params import Params
    from quadrat.runtime.run import Paths
    from quadrat.scenes.scene import OpenScene, Scene

BASELINE = "baseline"
"""The folder of the baseline's layers within a scene's, and the name of its layer."""


@dataclass(frozen=True)
class SceneLayers:
    """The layers of a scene by name."""

    grid: Grid
    rasters: Mapping[str, Raster]
    shapes: Mapping[str, Mapping[str, Any]]
    """GeoJSON, with the fields ``class`` or ``kind``."""


def pictures_of(params: "Params") -> "Pictures":
    """Return how images are drawn: as in eval's pictures, or by the first bands."""
    from quadrat.evaluation.pictures import Pictures

    return params.eval.pictures or Pictures(bands=params.bands[:3] if len(params.bands) > 2 else params.bands[:1])


def scene_layers(scene: "Scene", params: "Params", paths: "Paths", folder: Path) -> SceneLayers:
    """Write what is nowhere yet of a scene to ``folder``, and return all its layers."""
    place = paths.predictions / scene.id
    pictures = pictures_of(params)
    rasters: dict[str, Raster] = {}
    shapes: dict[str, Mapping[str, Any]] = {}
    with scene.open(pictures.bands, params.task) as opened, ExitStack() as stack:
        grid = opened.grid
        prediction = stack.enter_context(Prediction(place, grid, scene.id)) if place.is_dir() else None
        for name, made in _compared(opened, prediction, params, folder):
            (rasters if isinstance(made, Raster) else shapes)[name] = made
        rasters |= dict(_predicted(place, params))
        if prediction is not None:
            shapes |= dict(_objects(prediction, grid, params, place))
        shown = write_image(scene, opened, params.bands, pictures, folder)
        rasters["image"] = Raster(folder / shown.file, (), shown.bands, shown.ranges, image=True)
        if opened.aoi is not None:
            shapes["aoi"] = geojson(grid, opened.aoi.geometry, {})
    if scene.split in {"train", "validation"} and (paths.chips / INDEX).exists():
        shapes["chips"] = _chips(paths.chips / INDEX, scene.id)
    return SceneLayers(grid, rasters, shapes)


def _compared(
    opened: "OpenScene", prediction: Prediction | None, params: "Params", folder: Path
) -> Iterator[tuple[str, Any]]:
    scoring = scoring_of(params.task)
    if opened.labels is None or (prediction is None and scoring.class_map is None):
        return
    truth = Truth(opened, opened.labels)
    outlines = None if prediction is None else scoring.outlines(truth, prediction, params.eval.match)
    if outlines is None:
        for name, (file, classes) in write_maps(truth, prediction, scoring, folder).items():
            yield name, Raster(folder / file, classes)
        return
    for name, (geometry, fields) in (
        ("labels", labelled_objects(outlines[0], params.task.classes)),
        ("error", wrong_objects(*outlines, params.task.classes)),
    ):
        yield name, geojson(opened.grid, geometry, fields)


def _predicted(place: Path, params: "Params") -> Iterator[tuple[str, Raster]]:
    low, high = getattr(params.task, "range", (0.0, 1.0))
    for layer in layers_of(params.task).written(params.predict.layers):
        path = place / file_of(layer)
        if not isinstance(layer, RasterLayer) or layer.name == "scores" or not path.exists():
            continue
        if layer.classes is None:
            yield layer.name, Raster(path, ranges=((0.0, 1.0) if layer.name == "uncertainty" else (low, high),))
            continue
        yield "prediction", Raster(path, layer.classes)
        rival = place / BASELINE / file_of(layer)
        if rival.exists():
            yield BASELINE, Raster(rival, layer.classes)


def _objects(
    prediction: Prediction, grid: Grid, params: "Params", place: Path
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for layer in layers_of(params.task).written(params.predict.layers):
        if isinstance(layer, RasterLayer) or layer.name == "polygons" or not (place / file_of(layer)).exists():
            continue
        found = prediction.features(layer.name)
        match = params.eval.match
        scores = np.asarray(found.fields.get("score", np.ones(len(found.geometry))), float)
        best = np.argsort(-scores, kind="stable")[:MOST]
        best = best[scores[best] >= (0.0 if match is None else match.score)]
        yield "prediction", geojson(grid, found.geometry[best], {name: v[best] for name, v in found.fields.items()})


def _chips(index: Path, scene: str) -> Mapping[str, Any]:
    chips = geopandas.read_parquet(index, columns=["scene", "split", "geometry"])
    some = chips[(chips["scene"] == scene) & chips.geometry.notna()][["split", "geometry"]].head(MOST)
    found: Mapping[str, Any] = some.__geo_interface__
    return found


KIND_COLORS = [{"id": number, "name": name, "color": color} for number, (name, color) in enumerate(KINDS)]
ERROR_COLORS = [{"id": number, "name": one.name, "color": one.color} for number, one in enumerate(ERRORS)]
"""The legends of errors of objects, and of maps."""
