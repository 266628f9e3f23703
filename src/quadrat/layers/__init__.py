"""What predict writes for a scene: a cloud-optimised GeoTIFF or a vector file for each layer."""

from collections.abc import Mapping
from pathlib import Path

from quadrat.layers.raster import RasterWriter
from quadrat.layers.vector import VectorWriter
from quadrat.scenes.grid import Grid
from quadrat.tasks.task import RasterLayer, VectorLayer

__all__ = ["RasterWriter", "VectorWriter", "writer_for"]


def writer_for(
    layer: RasterLayer | VectorLayer, grid: Grid, folder: Path, tags: Mapping[str, str]
) -> RasterWriter | VectorWriter:
    """Return what writes ``layer`` to ``folder``; raise ParamsError for an ending that stands for no format."""
    match layer:
        case RasterLayer():
            return RasterWriter(layer, grid, folder / f"{layer.name}.tif", tags)
        case VectorLayer():
            return VectorWriter(layer, grid, folder / layer.file, tags)
