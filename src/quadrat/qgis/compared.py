"""Labels of a scene, and where its prediction differs from them, as layers for QGIS."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.evaluation.pictures import FOUND, LOST, MISSED, RIGHT, WRONG, css
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.prediction.cog import RasterWriter
from quadrat.tasks.common.classes import Class
from quadrat.tasks.common.outputs import Outlines, RasterLayer, Rows
from quadrat.tasks.common.truth import Truth

if TYPE_CHECKING:
    from quadrat.tasks.common.scoring import Prediction, TaskScoring

ERRORS = tuple(
    Class(name=name, color=css(color)) for name, color in (("right", RIGHT), ("wrong", WRONG), ("not predicted", LOST))
)
"""What the error layer holds, by value."""

KINDS = (("wrong", css(WRONG)), ("missed", css(MISSED)), ("right", css(FOUND)))
"""What the error layer of objects holds in its field ``kind``, with the colours."""


def write_maps(
    truth: Truth, prediction: "Prediction | None", scoring: "TaskScoring[Any]", folder: Path
) -> dict[str, tuple[str, tuple[Class, ...]]]:
    """Write labels and error as rasters; return the file and the classes of each, by name.

    Without a prediction there is no error.
    """
    grid, scene = truth.scene.grid, truth.scene.id
    classes = {"labels": tuple(scoring.painted)} | ({"error": ERRORS} if prediction is not None else {})
    files = {name: f"{scene}-{name}.tif" for name in classes}
    for name, some in classes.items():
        layer = RasterLayer(name, "uint8", (name,), IGNORE, classes=some)
        with RasterWriter(layer, grid, folder / files[name], {}) as writer:
            for rows in _rows(name, truth, prediction, scoring):
                writer.write(rows)
    return {name: (files[name], some) for name, some in classes.items()}


def _rows(name: str, truth: Truth, prediction: "Prediction | None", scoring: "TaskScoring[Any]") -> Iterator[Rows]:
    for window in truth.windows():
        inside = truth.inside(window)
        values = scoring.label_map(truth, prediction, window)  # type: ignore[arg-type] # labels of pixels need none
        if name == "error":
            assert prediction is not None  # else there is no such layer
            values = _errors(values, scoring.predicted_map(prediction, window))
        yield Rows(name, window.row, window.col, np.where(inside, values, np.uint8(IGNORE))[None])


def _errors(labels: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> NDArray[np.uint8]:
    found = np.where(predicted == labels, 0, np.where(predicted == IGNORE, 2, 1))
    return np.where(labels == IGNORE, IGNORE, found).astype(np.uint8)


def labelled_objects(labels: Outlines, classes: tuple[Class, ...]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Return the labels' geometries and fields."""
    names = np.array([one.name for one in classes], object)[labels.class_ids]
    return np.asarray(labels.geometry, object), {"class": names, "found": labels.right.astype(np.uint8)}


def wrong_objects(
    labels: Outlines, predicted: Outlines, classes: tuple[Class, ...]
) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Return what was found, rightly or wrongly, and what was missed: geometries and fields."""
    lost = ~labels.right
    geometry = np.concatenate([np.asarray(predicted.geometry, object), np.asarray(labels.geometry, object)[lost]])
    kinds = np.array([*np.where(predicted.right, "right", "wrong"), *["missed"] * int(lost.sum())], object)
    names = np.array([one.name for one in classes], object)
    of = names[np.concatenate([predicted.class_ids, labels.class_ids[lost]])]
    assert len(geometry) == len(kinds)
    return shapely.force_2d(geometry), {"kind": kinds, "class": of}
