"""Decides what a new project is: classes, areas, sizes, parameters and catalog."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from quadrat.errors import ImageError, LabelError
from quadrat.new_project.areas import Area, images_apart, stripes, whole_images
from quadrat.new_project.imagery import Look, looks_at
from quadrat.new_project.inputs import Given, images_of, labels_of
from quadrat.new_project.labels.legend import BACKGROUND, Legend
from quadrat.new_project.labels.maps import LabelMap, exact_counts, map_of
from quadrat.new_project.labels.raster import is_measured, raster_legend
from quadrat.new_project.labels.vector import vector_legend
from quadrat.new_project.pairing import paired
from quadrat.new_project.recipe import Sizes, params_of, sizes_of, task_of
from quadrat.params import check_params
from quadrat.tasks import Task

HELD_OUT = 3
"""Number of images apart from each other from which whole images are held out."""

CELL = 16
"""Side of a cell, px, until sizes are known."""

EXCLUSIVE = {"semantic_segmentation", "chip_classification"}
"""Tasks that need two classes."""

TASKS: TypeAdapter[Task] = TypeAdapter(Task)


@dataclass(frozen=True)
class Request:
    """What a user asks for."""

    images: tuple[str, ...]
    labels: tuple[str, ...]
    task: str | None = None
    field: str | None = None
    layer: str | None = None


@dataclass(frozen=True)
class Plan:
    """All that was found and decided."""

    name: str
    params: dict[str, Any]
    """The content of ``params.yaml``."""
    catalog: dict[str, Any]
    """The content of the catalog."""
    aois: dict[str, Area]
    """The areas that are a part of an image, by file."""
    files: tuple[Given, ...]
    """Images and labels, which the project copies."""
    gap: str | None
    """The distance between areas of an image."""
    notes: tuple[str, ...]
    """What was decided, and needs a look."""


def plan(name: str, request: Request) -> Plan:
    """Look at the files, and decide; raise an error that says what is wrong with them."""
    raw = f"data/raw/{name}"
    labels = labels_of(request.labels, f"{raw}/labels")
    given = images_of(request.images, f"{raw}/images")
    images = [one for one in given if one.file not in {label.file for label in labels}] or given
    looks = looks_at(images)
    kind = request.task or ("pixel_regression" if _measured(labels) else "semantic_segmentation")
    legend = _legend(labels, kind, request)
    pairs = paired(looks, labels, request.layer)
    while True:
        maps = _maps(looks, pairs, legend, TASKS.validate_python(task_of(kind, legend, CELL), strict=False))
        sizes, areas = _split(kind, maps, legend)
        content = params_of(name, task_of(kind, legend, sizes.cell), areas, sizes, 1)
        task = check_params(content, Path("params.yaml")).task
        counts = np.sum([exact_counts(one.labels, task, one.place) for one in areas if one.split == "train"], axis=0)
        lost = [one for one, count in zip(task.names, counts, strict=True) if not count]
        if not lost:
            break
        legend = _without(legend, lost, kind, labels)
    content = params_of(name, content["task"], areas, sizes, int(counts.sum()))
    aois = {_file(area, areas): area for area in areas if area.window}
    catalog = _catalog(looks, pairs, legend, areas)
    used = {labels.id: labels for area in areas for labels in [pairs[area.labels.look.id]]}
    gap = _gap(areas[0].labels.look, sizes) if len({id(area.labels) for area in areas}) < len(areas) else None
    notes = [*dict.fromkeys(note for look in looks for note in look.notes), *legend.notes]
    bare = [scene["image"] for scene in catalog["scenes"] if scene["split"] == "predict"]
    notes += [f"no labels on {', '.join(bare)}: only predicted"] if bare else []
    return Plan(name, content, catalog, aois, (*images, *used.values()), gap, tuple(notes))


def _measured(labels: Sequence[Given]) -> bool:
    return not labels[0].is_vector and is_measured(labels[0])


def _legend(labels: Sequence[Given], kind: str, request: Request) -> Legend:
    found = (
        vector_legend(labels, kind, request.field, request.layer)
        if labels[0].is_vector
        else raster_legend(labels, kind)
    )
    return found.with_background() if len(found.classes) == 1 and kind in EXCLUSIVE else found


def _maps(looks: Sequence[Look], pairs: dict[str, Given], legend: Legend, task: Task) -> list[LabelMap]:
    """Return where labels lie on images. Off all labels is an image only where one file serves several images."""
    maps, errors = list[LabelMap](), list[LabelError]()
    for look in looks:
        if look.id in pairs:
            try:
                maps.append(map_of(look, pairs[look.id], legend, task))
            except LabelError as error:
                errors.append(error)
    if errors and (not maps or len({*pairs.values()}) > 1):
        raise errors[0]
    return maps


def _split(kind: str, maps: Sequence[LabelMap], legend: Legend) -> tuple[Sizes, list[Area]]:
    groups, count = images_apart(maps), len(legend.classes)
    if len(groups) >= HELD_OUT:
        sizes = sizes_of(kind, maps, divided=False)
        everywhere = kind == "object_detection" or "background" in legend.keys
        return sizes, whole_images(maps, groups, count, sizes.chip if everywhere else None)
    if len(groups) < len(maps):
        raise ImageError(
            "the images share ground, so that they can't be held out from each other",
            file=maps[0].look.files[0].file,
            expected="one image, or three or more that do not overlap",
            got=", ".join(maps[number].look.files[0].file.name for number in groups[0]),
            hint="make one file of tiles (gdalbuildvrt, gdal_translate); dates of one place are a time series, which "
            "the catalog describes (docs/data.md)",
        )
    sizes = sizes_of(kind, maps, divided=True)
    return sizes, [area for one in maps for area in stripes(one, count, sizes.chip)]


def _without(legend: Legend, lost: Sequence[str], kind: str, labels: Sequence[Given]) -> Legend:
    """Return the legend without classes that no ground for training has; raise LabelError if too few are left."""
    fewest = 2 if kind in EXCLUSIVE else 1
    if BACKGROUND in lost or len(legend.classes) - len(lost) < fewest:
        raise LabelError(
            "too few classes have labels on the ground for training",
            file=labels[0].file,
            expected=f"{fewest} or more",
            got=f"none of {', '.join(lost)}" if lost else None,
            hint="label more of each class in several places, or name another field by --field",
        )
    return legend.without(lost)


def _scene(area: Area, areas: Sequence[Area]) -> str:
    """Return the id of an area's scene."""
    image, several = area.labels.look.id, len({one.labels.look.id for one in areas}) > 1
    whole = sum(one.labels is area.labels for one in areas) == 1
    return image if whole else f"{image}-{area.split}" if several else area.split


def _file(area: Area, areas: Sequence[Area]) -> str:
    return f"data/aoi/{_scene(area, areas)}.{'csv' if area.labels.look.grid.crs is None else 'geojson'}"


def _catalog(looks: Sequence[Look], pairs: dict[str, Given], legend: Legend, areas: Sequence[Area]) -> dict[str, Any]:
    scenes: list[dict[str, str]] = []
    for area in areas:
        image = area.labels.look.id
        scene = {"id": _scene(area, areas), "split": area.split, "image": image, "labels": pairs[image].id}
        scenes.append({**scene, **({"aoi": _file(area, areas)} if area.window else {})})
    labelled = {area.labels.look.id for area in areas}
    scenes += [{"id": one.id, "split": "predict", "image": one.id} for one in looks if one.id not in labelled]
    used = {pairs[image].id: pairs[image] for image in labelled}
    return {
        "images": {look.id: look.entry for look in looks},
        "labels": {name: legend.entry(one.path) for name, one in sorted(used.items())},
        "scenes": scenes,
    }


def _gap(look: Look, sizes: Sizes) -> str:
    metres = "" if look.grid.crs is None else f" ({sizes.chip * look.grid.gsd:.3g} m)"
    return f"{sizes.chip} px{metres}"
