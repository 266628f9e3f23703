"""Layers of a map: what a bundle predicts, and the image; their colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.qgis.styles import RAMP
from quadrat.tasks.common.classes import Class
from quadrat.tasks.common.outputs import RasterLayer, VectorLayer
from quadrat.tasks.common.parts import layers_of
from quadrat.tasks.common.section import LayersSection, TaskSection

DOUBT = (214, 20, 120)
"""The colour of the largest uncertainty."""

MOST = 250
"""The step of a score of 1, and of the high end of a range; IGNORE is none."""

Palette = NDArray[np.uint8]
"""(256, 4): red, green, blue and opacity of each number."""

Kind = Literal["image", "classes", "shares", "values", "features"]


@dataclass(frozen=True)
class MapLayer:
    """A layer that tiles show."""

    name: str
    kind: Kind
    bands: tuple[str, ...] = ()
    """Of shares, one is shown at a time."""
    written: RasterLayer | None = None
    range: tuple[float, float] = (0.0, 1.0)
    filled: bool = True
    """Whether features are filled, or drawn as outlines, because they may overlap."""

    def stepped(self, values: NDArray[Any], band: int) -> NDArray[np.uint8]:
        """Return a band of stored ``values`` (band, y, x) as numbers of the palette (y, x)."""
        one = values[band]
        if self.kind == "shares" and self.written is not None and self.written.scale == 1:  # 0 or 1, as of sets
            return np.where(one == IGNORE, IGNORE, one * np.uint8(MOST)).astype(np.uint8)
        if self.kind != "values":
            return np.asarray(one, np.uint8)
        low, high = self.range
        with np.errstate(invalid="ignore"):
            steps = np.rint(np.clip((one - low) / (high - low), 0, 1) * MOST)
        return np.where(np.isnan(one), IGNORE, np.nan_to_num(steps)).astype(np.uint8)

    def palette(self, band: int, classes: Sequence[Class]) -> Palette:
        """Return the colours of the numbers that ``stepped`` gives."""
        table = np.zeros((IGNORE + 1, 4), np.uint8)
        if self.kind in {"classes", "features"}:
            table[: len(classes)] = [(*each.rgb, 255) for each in classes]
        elif self.kind == "values":
            ends = np.linspace(0, MOST, len(RAMP))
            for channel, colors in enumerate(zip(*(bytes.fromhex(color[1:]) for color in RAMP), strict=True)):
                table[: MOST + 1, channel] = np.rint(np.interp(np.arange(MOST + 1), ends, colors))
            table[: MOST + 1, 3] = 255
        else:
            table[: MOST + 1, :3] = classes[band].rgb if self.name == "scores" else DOUBT
            table[: MOST + 1, 3] = np.rint(np.arange(MOST + 1) * (255 / MOST))
        return table


def map_layers(task: TaskSection, section: LayersSection) -> dict[str, MapLayer]:
    """Return the layers by name, the image first."""
    found = [MapLayer("image", "image")]
    for layer in layers_of(task).written(section):
        match layer:
            case VectorLayer():
                found.append(MapLayer(layer.name, "features", filled=task.unit != "boxes"))
            case RasterLayer() if layer.classes is not None:
                found.append(MapLayer(layer.name, "classes", layer.bands, layer))
            case RasterLayer() if layer.dtype == "uint8":
                found.append(MapLayer(layer.name, "shares", layer.bands, layer))
            case RasterLayer():
                low, high = getattr(task, "range", (0.0, 1.0))
                found.append(MapLayer(layer.name, "values", layer.bands, layer, (low, high)))
    return {layer.name: layer for layer in found}
