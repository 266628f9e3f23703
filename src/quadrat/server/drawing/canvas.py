"""Draws tiles, previews and boxes of a layer from blocks, or says that one has to zoom in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.server.blocks.blocks import Block, Blocks, Kind
from quadrat.server.blocks.gallery import Served
from quadrat.server.blocks.held import Held
from quadrat.server.blocks.making import BOUNDS, FIELD, Arrays
from quadrat.server.drawing.layers import MapLayer
from quadrat.server.drawing.png import coloured, indexed
from quadrat.server.drawing.warp import Shown, Target, moved, shown, warped
from quadrat.tasks.common.classes import Class

MOST_BLOCKS = 16
"""Most blocks that a picture is made of: for more, it shows the outline, or the image from afar."""

AFAR = 1024
"""Side of an image from afar, px."""

DRAWN = 64 << 20
"""Bytes of pictures in memory: users look at the same places."""

OUTLINE = (255, 90, 0, 255)
"""The colour of an outline: red, green, blue and opacity."""

WIDTH = 1.5
"""Of an outline, px."""

PIECES = 64
"""By side of an outline, whose edges may be curves on the target."""

LISTED = 0.5
"""Score from which a cell has a class, of those that exclude no other."""


@dataclass(frozen=True)
class Drawn:
    """A picture as PNG."""

    content: bytes
    hint: str | None = None
    """What to do to see more."""


class Canvas:
    """Draws layers of served images."""

    def __init__(self, blocks: Blocks, classes: Sequence[Class], least: float = 0) -> None:
        """Draw what ``blocks`` give; of features that may overlap, those with a score of ``least`` or more."""
        self._least = least
        self.blocks, self.classes = blocks, classes
        self._drawn: Held[Drawn] = Held(DRAWN)

    def draw(self, served: Served, layer: MapLayer, band: int, target: Target) -> Drawn | None:
        """Return a picture of a band of a layer; None where the image isn't. Raises BusyWorker."""
        held = self.held(served, layer, band, target)
        if held is not None:
            return held
        seen = shown(served.grid, target)
        if seen is None:
            return None
        found = self._draw(served, layer, band, (target, seen))
        if found.hint is None:
            self._drawn.put((served.id, served.stamp, layer.name, band, target.key), found, len(found.content))
        return found

    def held(self, served: Served, layer: MapLayer, band: int, target: Target) -> Drawn | None:
        """Return a picture if it is in memory; do not wait."""
        return self._drawn.get((served.id, served.stamp, layer.name, band, target.key))

    def _draw(self, served: Served, layer: MapLayer, band: int, where: tuple[Target, Shown]) -> Drawn:
        target, seen = where
        near = self.blocks.around(served, seen.window)
        if len(near) > MOST_BLOCKS:
            return self._from_afar(served, layer, target)
        if layer.kind == "image":
            blocks = self.blocks.get(served, "pictured", near, ["image"])
            step = seen.step(self.blocks.side)
            return Drawn(coloured(warped(served.grid, blocks, "image", step, target, 0)))
        numbers = self._numbers(served, layer, band, where)
        return Drawn(indexed(numbers, layer.palette(band, self.classes)))

    def values(self, served: Served, layer: MapLayer, target: Target) -> NDArray[Any] | None:
        """Return the stored values (band, y, x) of a layer; features as class ids, and None if it is too much."""
        seen = shown(served.grid, target)
        nodata = _nodata(layer)
        near = [] if seen is None else self.blocks.around(served, seen.window)
        if len(near) > MOST_BLOCKS:
            return None
        if not near or seen is None:
            count, dtype = (4, "uint8") if layer.written is None else (len(layer.bands), layer.written.dtype)
            return np.full((count, target.height, target.width), nodata, dtype)
        if layer.kind == "features":
            return self._numbers(served, layer, 0, (target, seen))[None]
        kind: Kind = "pictured" if layer.kind == "image" else "predicted"
        blocks = self.blocks.get(served, kind, near, [layer.name])
        return warped(served.grid, blocks, layer.name, seen.step(self.blocks.side), target, nodata)

    def features(self, served: Served, window: Window) -> Arrays:
        """Return the features that share px with a window of the grid, each once; see ``BOUNDS`` and ``FIELD``."""
        near = self.blocks.around(served, window)
        found = _joined(self.blocks.get(served, "predicted", near, None))
        left, top, right, bottom = found[BOUNDS].T
        here = (left < window.right) & (right > window.col) & (top < window.bottom) & (bottom > window.row)
        return {name: values[here] for name, values in found.items()}

    def _numbers(self, served: Served, layer: MapLayer, band: int, where: tuple[Target, Shown]) -> NDArray[np.uint8]:
        target, seen = where
        if layer.kind == "features":
            features = self.features(served, seen.window)
            if layer.filled:
                return _burnt(served.grid, features, target, filled=True)
            enough = features[f"{FIELD}score"] >= self._least
            some = {name: values[enough] for name, values in features.items()}
            return _burnt(served.grid, some, target, filled=False)
        blocks = self.blocks.get(served, "predicted", self.blocks.around(served, seen.window), [layer.name])
        one = [Block(b.window, {layer.name: b.arrays[layer.name][band : band + 1]}) for b in blocks]
        found = warped(served.grid, one, layer.name, seen.step(self.blocks.side), target, _nodata(layer))
        return layer.stepped(found, 0)

    def _from_afar(self, served: Served, layer: MapLayer, target: Target) -> Drawn:
        if layer.kind == "image":
            overview = self.blocks.overview(served, AFAR)
            height, width = served.grid.shape
            scale = Affine.scale(width / overview.shape[2], height / overview.shape[1])
            grid = Grid(served.grid.crs, served.grid.transform @ scale, (overview.shape[1], overview.shape[2]))
            block = Block(Window(0, 0, *overview.shape[1:]), {"image": overview})
            return Drawn(coloured(warped(grid, [block], "image", 1, target, 0)))
        area = shapely.box(served.area.col, served.area.row, served.area.right, served.area.bottom)
        outline = shapely.segmentize(area, max(served.area.shape) / PIECES)
        burnt = _burnt_lines([onto(target, served.grid, outline).exterior], [1], target, 0)
        palette = np.zeros((IGNORE + 1, 4), np.uint8)
        palette[1] = OUTLINE
        return Drawn(indexed(burnt, palette), "zoom in: too much would have to be predicted for so large an area")


def onto(target: Target, grid: Grid, geometry: Any) -> Any:
    """Return geometries in px of ``grid`` as px of ``target``."""

    def there(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return moved(points, grid.transform, grid.crs, target.grid)

    return shapely.transform(geometry, there)


def class_ids(features: Arrays) -> NDArray[np.uint8]:
    """Return the class of each feature; of those with several, the likeliest, and IGNORE for none."""
    if f"{FIELD}class_id" in features:
        return features[f"{FIELD}class_id"].astype(np.uint8)
    scores = [values for name, values in features.items() if name.startswith(f"{FIELD}score_")]
    if not scores:
        return np.zeros(len(features[BOUNDS]), np.uint8)
    stacked = np.stack(scores)
    return np.where(stacked.max(0) >= LISTED, stacked.argmax(0), IGNORE).astype(np.uint8)


def _burnt(grid: Grid, features: Arrays, target: Target, *, filled: bool) -> NDArray[np.uint8]:
    """Return class ids of features (y, x) on the target; of outlines, the ones with the highest score lie above."""
    ids = class_ids(features)
    scores = features.get(f"{FIELD}score")
    order = np.arange(len(ids)) if scores is None else np.argsort(scores, kind="stable")
    order = order[ids[order] != IGNORE]
    shapes = np.asarray(onto(target, grid, np.asarray(shapely.box(*features[BOUNDS][order].T), object)), object)
    known = np.isfinite(shapely.bounds(shapes)).all(-1) if len(shapes) else np.zeros(0, bool)
    shapes, ids = shapes[known], ids[order][known]
    if not filled:
        return _burnt_lines(list(shapely.get_exterior_ring(shapes)), ids.tolist(), target, IGNORE)
    return _burnt_shapes(zip(shapes, ids.tolist(), strict=True), target, IGNORE, all_touched=False)


def _burnt_lines(lines: Iterable[BaseGeometry], numbers: Iterable[int], target: Target, fill: int) -> NDArray[np.uint8]:
    thick = [(line.buffer(WIDTH / 2), number) for line, number in zip(lines, numbers, strict=True)]
    return _burnt_shapes(thick, target, fill, all_touched=True)


def _burnt_shapes(
    shapes: Iterable[tuple[BaseGeometry, int]], target: Target, fill: int, *, all_touched: bool
) -> NDArray[np.uint8]:
    listed = [(shape, number) for shape, number in shapes if not shape.is_empty]
    size = (target.height, target.width)
    if not listed:
        return np.full(size, fill, np.uint8)
    burnt: NDArray[np.uint8] = rasterio.features.rasterize(
        listed, size, fill=fill, all_touched=all_touched, dtype="uint8"
    )
    return burnt


def _joined(blocks: Sequence[Block]) -> Arrays:
    """Return the features of blocks; one that lies in several, once."""
    names = blocks[0].arrays
    found = {name: np.concatenate([block.arrays[name] for block in blocks]) for name in names}
    ids = class_ids(found)
    rows = np.column_stack([found[BOUNDS], ids])
    _, first = np.unique(rows, axis=0, return_index=True)
    first.sort()
    return {name: values[first] for name, values in found.items()}


def _nodata(layer: MapLayer) -> float:
    if layer.written is not None:
        return layer.written.nodata
    return 0 if layer.kind == "image" else IGNORE
