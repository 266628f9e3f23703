"""Makes blocks: predictions of the windows that reach a block, and pictures of the image there."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.errors import InputError
from quadrat.geo.grids.windows import Window
from quadrat.prediction.sliding_window import Predict, predicted
from quadrat.scenes.scene import OpenScene
from quadrat.server.blocks.gallery import Served, stamp_of
from quadrat.server.blocks.look import Look
from quadrat.serving.ready import Ready
from quadrat.tasks.common.outputs import Features, RasterLayer, Rows
from quadrat.tasks.common.parts import layers_of

OPEN = 8
"""Images that a thread keeps open."""

BOUNDS, FIELD = "bounds", "field:"
"""Names of a block's arrays for features: their bounds (feature, 4), px of the grid: left, top, right, bottom, and the
beginning of the names of their fields (feature,)."""

Arrays = dict[str, NDArray[Any]]


class OpenScenes:
    """The scenes that one thread has open; the one that was not used for longest is closed first."""

    def __init__(self, ready: Ready) -> None:
        """Start with none."""
        self._inputs = ready.bundle.card.inputs
        self._open: OrderedDict[tuple[str, str], tuple[AbstractContextManager[OpenScene], OpenScene]] = OrderedDict()

    def get(self, served: Served) -> OpenScene:
        """Return the image as an open scene."""
        key = served.id, served.stamp
        if key not in self._open:
            while len(self._open) >= OPEN:
                self._open.popitem(last=False)[1][0].__exit__(None, None, None)
            manager = served.one.open(self._inputs)
            self._open[key] = manager, manager.__enter__()
        self._open.move_to_end(key)
        return self._open[key][1]


class Maker:
    """Makes blocks of one kind, in one thread."""

    def __init__(self, ready: Ready, predict: Predict, look: Look) -> None:
        """Predict as ``predict`` says."""
        self._ready, self._predict, self._look = ready, predict, look
        self._scenes = OpenScenes(ready)

    def predicted(self, served: Served, block: Window) -> Arrays:
        """Return the layers of a block of the grid: rasters (band, y, x), or what ``BOUNDS`` says of features."""
        scene = self._scenes.get(served)
        card = self._ready.bundle.card
        layers = layers_of(card.task, card.calibration)
        written = layers.written(self._predict.layers)
        rasters = [layer for layer in written if isinstance(layer, RasterLayer)]
        arrays = {each.name: np.full((len(each.bands), *block.shape), each.nodata, each.dtype) for each in rasters}
        features: list[Features] = []
        part = block.intersection(served.area)
        if part is not None:
            predictor, batch = self._ready.loaded
            with closing(predicted(scene, predictor, layers, self._predict, batch, part)) as made:
                for piece in made:
                    if isinstance(piece, Rows):
                        where = Window(piece.row, piece.col, *piece.values.shape[1:]).slices(block)
                        arrays[piece.layer][:, *where] = piece.values
                    else:
                        features.append(piece)
        _check(served)
        return arrays if rasters else _within(features, block)

    def pictured(self, served: Served, block: Window) -> Arrays:
        """Return ``image``: red, green, blue and opacity (4, y, x) of a block of the grid."""
        scene = self._scenes.get(served)
        strip = scene.raster.read(block)
        picture = self._look.drawn(served.id + served.stamp, scene, strip.values, strip.seen)
        _check(served)
        return {"image": picture}

    def overview(self, served: Served, side: int) -> NDArray[np.uint8]:
        """Return the whole image, at most ``side`` px high and wide, drawn likewise."""
        return self._look.overview(served.id + served.stamp, self._scenes.get(served), side)


def _check(served: Served) -> None:
    """Raise InputError if the image's files have changed since they were checked."""
    if stamp_of(served.one) != served.stamp:
        hint = "ask again: the server reads it anew"
        raise InputError("the image was changed while it was read", served.id, hint=hint)


def _within(found: list[Features], block: Window) -> Arrays:
    """Return the features that share px with a block; fields that hold no numbers are left out."""
    geometry = np.concatenate([piece.geometry for piece in found]) if found else np.empty(0, object)
    bounds = shapely.bounds(geometry).reshape(-1, 4).astype(np.float64)
    left, top, right, bottom = bounds.T
    here = (left < block.right) & (right > block.col) & (top < block.bottom) & (bottom > block.row)
    return {BOUNDS: bounds[here], **{FIELD + name: values[here] for name, values in _fields(found)}}


def _fields(found: list[Features]) -> Iterator[tuple[str, NDArray[Any]]]:
    names: Mapping[str, NDArray[Any]] = found[0].fields if found else {}
    for name, first in names.items():
        if first.dtype.kind in "iuf":
            yield name, np.concatenate([piece.fields[name] for piece in found])
