"""What predict writes for a scene: a cloud-optimised GeoTIFF or a vector file for each layer."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from quadrat.geo.grids.grid import Grid
from quadrat.tasks.common.outputs import RasterLayer, VectorLayer


class LayerWriter(Protocol):
    """Takes the pieces of one layer: ``Rows`` of a raster, ``Features`` of a vector layer."""

    def write(self, piece: Any, /) -> None:
        """Write a piece."""
        ...


def writer_for(
    layer: RasterLayer | VectorLayer, grid: Grid, folder: Path, tags: Mapping[str, str]
) -> AbstractContextManager[LayerWriter]:
    """Return what writes ``layer`` to ``folder``; raise ParamsError for an ending that stands for no format."""
    match layer:
        case RasterLayer():
            from quadrat.prediction.cog import RasterWriter

            return RasterWriter(layer, grid, folder / file_of(layer), tags)
        case VectorLayer():
            from quadrat.prediction.vector_file import VectorWriter  # what it needs takes a quarter of a second to load

            return VectorWriter(layer, grid, folder / file_of(layer), tags)


def file_of(layer: RasterLayer | VectorLayer) -> str:
    """Return the file name of a layer."""
    return f"{layer.name}.tif" if isinstance(layer, RasterLayer) else layer.file


def files_of(layer: RasterLayer | VectorLayer) -> tuple[str, ...]:
    """Return the names of all files that a layer may have: its own, and those beside it that tell classes and style."""
    own = file_of(layer)
    return own, f"{own}.aux.xml", style_of(own)


def style_of(file: str) -> str:
    """Return the name of the file with the style of ``file``, as QGIS looks for it."""
    return f"{file.rpartition('.')[0]}.qml"
