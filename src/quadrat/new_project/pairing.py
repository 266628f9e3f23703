"""Finds the labels of each image: one file for all, or files by their names or by the ground that they cover."""

from collections.abc import Sequence

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from quadrat.errors import LabelError
from quadrat.geo.geometry.footprints import EARTH, on_earth
from quadrat.geo.grids.grid import Grid
from quadrat.new_project.imagery import Look
from quadrat.new_project.inputs import Given
from quadrat.new_project.labels.raster import grid_of_labels
from quadrat.new_project.labels.vector import features_of


def paired(looks: Sequence[Look], labels: Sequence[Given], layer: str | None) -> dict[str, Given]:
    """Return the labels of images by the images' ids: one file for all, those of the same names, or of the same ground.

    ``a.gpkg`` and ``a_mask.tif`` have the name of ``a.tif``. Raises LabelError if a file of labels belongs to no image.
    """
    if len(labels) == 1:
        return {look.id: labels[0] for look in looks}
    found = _by_name(looks, labels) or _by_ground(looks, labels, layer)
    used = {*found.values()}
    for label in labels:
        if label not in used:
            raise LabelError(
                "several files of labels, and it is not clear which belongs to which image",
                file=label.file,
                expected="one file for all images, or one for each, by its name or by the ground that it covers",
                got="no image with this name, and none whose ground it covers best",
                hint="rename the files, or merge vector files (ogrmerge.py -single -o labels.gpkg FILES)",
            )
    return found


def _by_name(looks: Sequence[Look], labels: Sequence[Given]) -> dict[str, Given]:
    """Return the labels by the names of files; nothing unless each belongs to an image of its own."""
    stems = {look.id: look.files[0].file.stem.lower() for look in looks}
    found = {}
    for label in labels:
        name = label.file.stem.lower()
        fit = [one for one, stem in stems.items() if name.startswith(stem) and not name[len(stem) :][:1].isalnum()]
        if fit:
            found[max(fit, key=lambda one: len(stems[one]))] = label
    return found if len({*found.values()}) == len(labels) else {}


def _by_ground(looks: Sequence[Look], labels: Sequence[Given], layer: str | None) -> dict[str, Given]:
    """Return the labels that share most ground with each image that shares some with any."""
    outlines = [_vector_outline(one, layer) if one.is_vector else _outline(grid_of_labels(one)) for one in labels]
    found = {}
    for look in looks:
        own = _outline(look.grid)
        shared = [shapely.intersection(own, one).area if own and one else 0.0 for one in outlines]
        if max(shared) > 0:
            found[look.id] = labels[int(np.argmax(shared))]
    return found


def _outline(grid: Grid) -> BaseGeometry | None:
    """Return the outline of a grid in longitude and latitude; None without a place on Earth."""
    outline: BaseGeometry | None = None
    if grid.on_earth:
        (outline,) = on_earth(np.array([grid.footprint(grid.area)], object), grid.crs)
    return outline


def _vector_outline(one: Given, layer: str | None) -> BaseGeometry | None:
    """Return the box around all features in longitude and latitude; None without a CRS."""
    frame = features_of(one.file, layer)
    return None if frame.crs is None or frame.empty else shapely.box(*frame.to_crs(EARTH).total_bounds)
