"""The layers of a scene: what is there of image, labels, prediction, error, area and chips."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely

from quadrat.evaluation.pictures import FOUND, Pictures, css
from quadrat.geo.geometry.footprints import EARTH
from quadrat.prediction.qgis_style import raster_pipe, vector_renderer
from quadrat.prediction.writers import file_of
from quadrat.qgis.compared import KINDS, labelled_objects, write_maps, wrong_objects
from quadrat.qgis.document import Bounds, Group, Layer
from quadrat.qgis.images import write_image
from quadrat.qgis.styles import outline_style, value_style
from quadrat.qgis.tables import Tables
from quadrat.tasks.common.outputs import RasterLayer, VectorLayer
from quadrat.tasks.common.parts import layers_of, scoring_of
from quadrat.tasks.common.truth import Truth

if TYPE_CHECKING:
    from rasterio.crs import CRS

    from quadrat.geo.grids.grid import Grid
    from quadrat.params import Params
    from quadrat.prediction.reader import Prediction
    from quadrat.scenes.scene import OpenScene, Scene

CHIPS = "chips"
"""The table of all chips."""

AREA, TRAINING, VALIDATION = "#ffd000", css(FOUND), "#ff7f0e"
"""Colours of outlines."""


@dataclass(frozen=True)
class Workspace:
    """What the layers of a scene are made of, and where they go."""

    params: "Params"
    predictions: Path
    folder: Path
    """The new folder of the project's files."""
    home: Path
    """What that folder is called in the end: paths in the project are relative to it."""
    tables: Tables
    chips: frozenset[str] = field(default=frozenset())
    """The scenes that have chips."""

    @property
    def pictures(self) -> Pictures:
        """How images are drawn: as in eval's pictures, or by the first bands."""
        bands = self.params.bands
        return self.params.eval.pictures or Pictures(bands=bands[:3] if len(bands) > 2 else bands[:1])

    def source(self, path: Path) -> str:
        """Return the source of a file of the run."""
        relative = Path(relpath(path.absolute(), self.home.absolute())).as_posix()
        return relative if relative.startswith(".") else f"./{relative}"


def scene_group(scene: "Scene", work: Workspace, *, shown: bool) -> Group:
    """Write what is nowhere yet of a scene, and return its layers, from top to bottom."""
    from quadrat.prediction.reader import Prediction

    place = work.predictions / scene.id
    with scene.open(work.pictures.bands, work.params.task) as opened, ExitStack() as stack:
        prediction = None
        if place.is_dir():
            prediction = stack.enter_context(Prediction(place, opened.grid, scene.id))
        layers = [
            *_areas(opened, work),
            *_compared(opened, prediction, work),
            *_predicted(opened, place, work),
            *_image(scene, opened, work),
        ]
    return Group(f"{scene.id} ({scene.split})", layers, shown)


def _areas(opened: "OpenScene", work: Workspace) -> Iterator[Layer]:
    if opened.aoi is not None:
        table = f"{opened.id}_aoi"
        found = work.tables.add(table, opened.grid, shapely.force_2d(np.asarray(opened.aoi.geometry, object)), {})
        style = outline_style(("", "area of interest", AREA, True))
        yield Layer("area of interest", work.tables.source(table), style, opened.grid.crs, found or _bounds(opened))
    if opened.id in work.chips:
        rules = [(f"\"split\" = '{name}'", name, color, True) for name, color in _SPLITS]
        source = work.tables.source(CHIPS, f"\"scene\" = '{opened.id}'")
        crs, bounds = _on_earth(opened)
        yield Layer("chips", source, outline_style(*rules), crs, bounds, shown=False)


_SPLITS = (("train", TRAINING), ("validation", VALIDATION))


def _compared(opened: "OpenScene", prediction: "Prediction | None", work: Workspace) -> Iterator[Layer]:
    """Yield error and labels, if the scene has labels."""
    task, grid = work.params.task, opened.grid
    scoring = scoring_of(task)
    if opened.labels is None or (prediction is None and scoring.class_map is None):
        return
    truth = Truth(opened, opened.labels)
    outlines = None if prediction is None else scoring.outlines(truth, prediction, work.params.eval.match)
    if outlines is None:
        made = write_maps(truth, prediction, scoring, work.folder)
        for name in sorted(made):  # the error is above the labels
            file, classes = made[name]
            yield Layer(name, f"./{file}", raster_pipe(classes), grid.crs, _bounds(opened), shown=False)
        return
    for name, style, (geometry, fields) in (
        (
            "error",
            outline_style(*((f"\"kind\" = '{kind}'", kind, color, True) for kind, color in KINDS)),
            wrong_objects(*outlines, task.classes),
        ),
        ("labels", vector_renderer(task.classes, None), labelled_objects(outlines[0], task.classes)),
    ):
        table = f"{opened.id}_{name}"
        work.tables.add(table, grid, geometry, fields)
        yield Layer(name, work.tables.source(table), style, grid.crs, _bounds(opened), shown=False)


def _predicted(opened: "OpenScene", place: Path, work: Workspace) -> Iterator[Layer]:
    """Yield the layers of predict that are there: objects above rasters, labels lowest."""
    listed: Sequence[RasterLayer | VectorLayer] = layers_of(work.params.task).written(work.params.predict.layers)
    for layer in sorted(
        listed, key=lambda one: (isinstance(one, RasterLayer), getattr(one, "classes", None) is not None)
    ):
        path = place / file_of(layer)
        if not path.exists() or layer.name == "scores":  # a band for each class: nothing to look at
            continue
        if isinstance(layer, VectorLayer):
            yield _vector(opened, layer, path, work)
            continue
        style = raster_pipe(layer.classes) if layer.classes else value_style(*_range(layer, work))
        name = "prediction" if layer.classes else f"prediction: {layer.name}"
        only = layer.classes is not None or len(listed) == 1
        yield Layer(name, work.source(path), style, opened.grid.crs, _bounds(opened), shown=only)


def _vector(opened: "OpenScene", layer: VectorLayer, path: Path, work: Workspace) -> Layer:
    match = work.params.eval.match
    style = vector_renderer(layer.classes, None if match is None else match.score, several=layer.several)
    crs, bounds, source = opened.grid.crs, _bounds(opened), work.source(path)
    if path.suffix == ".parquet":
        table = f"{opened.id}_{layer.name}"
        work.tables.copy(table, path)
        source = work.tables.source(table)
    elif path.suffix == ".geojson":
        crs, bounds = _on_earth(opened)
    alone = layer.name != "polygons"  # those are of the raster, which is drawn
    return Layer(f"prediction: {layer.name}", source, style, crs, bounds, shown=alone)


def _range(layer: RasterLayer, work: Workspace) -> tuple[float, float]:
    low, high = getattr(work.params.task, "range", (0.0, 1.0))
    return (0.0, 1.0) if layer.name == "uncertainty" else (float(low), float(high))


def _image(scene: "Scene", opened: "OpenScene", work: Workspace) -> Iterator[Layer]:
    made = write_image(scene, opened, work.params.bands, work.pictures, work.folder)
    yield Layer("image", f"./{made.file}", made.style, opened.grid.crs, _bounds(opened))


def _bounds(opened: "OpenScene") -> Bounds:
    """Return the bounds of the scene's area in its CRS; those of a photo as QGIS has them, with rows downwards."""
    area, grid = opened.area, opened.grid
    if grid.crs is None and grid.transform.is_identity:
        return area.col, -area.bottom, area.right, -area.row
    left, bottom, right, top = grid.footprint(area).bounds
    return left, bottom, right, top


def _on_earth(opened: "OpenScene") -> tuple["CRS | None", Bounds]:
    """Return longitude and latitude as CRS, and the scene's bounds in it."""
    from rasterio.crs import CRS
    from rasterio.warp import transform_bounds

    grid: Grid = opened.grid
    if grid.crs is None:
        return None, _bounds(opened)
    earth = CRS.from_epsg(EARTH)
    left, bottom, right, top = transform_bounds(grid.crs, earth, *_bounds(opened))
    return earth, (left, bottom, right, top)
