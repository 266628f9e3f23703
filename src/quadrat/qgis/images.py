"""Images of scenes for QGIS: a virtual raster of the catalog's files, or a small picture where that is not enough."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from quadrat.evaluation.pictures import Pictures
from quadrat.evaluation.thumbnails import ThumbnailGrid
from quadrat.geo.files.opening import open_raster
from quadrat.geo.grids.grid import Grid
from quadrat.geo.reading.mosaic import GDAL_TYPES
from quadrat.geo.sources.channel import Channel, is_remote
from quadrat.qgis.styles import Range, image_style

if TYPE_CHECKING:
    from quadrat.scenes.scene import OpenScene, Scene

SEEN = 512
"""Longest side, px, of what the stretch is measured on."""

FILE = (".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg", ".img")
"""Endings of files that a virtual raster may name; others may hold several rasters, or refer to further files."""


@dataclass(frozen=True)
class Shown:
    """The file of an image, and how it is drawn: the numbers of three bands or one, from 1, and their values."""

    file: str
    bands: tuple[int, ...]
    ranges: tuple[Range, ...]

    @property
    def style(self) -> ET.Element:
        """Its style for QGIS."""
        return image_style(self.bands, self.ranges)


def write_image(scene: "Scene", opened: "OpenScene", bands: Sequence[str], pictures: Pictures, folder: Path) -> Shown:
    """Write what QGIS opens as the image of a scene to ``folder``; ``opened`` has the bands of ``pictures``.

    That is a virtual raster of ``bands`` and those of ``pictures`` where the scene's grid is that of local files, or a
    GeoTIFF with the colours of a picture. Paths in a virtual raster are relative to the folder beside ``folder`` that
    has its name without a dot in front: see ``runtime.files.replaced``.
    """
    lattice = ThumbnailGrid.of(opened.area, SEEN)
    ranges = tuple(_range(band, pictures.stretch) for band in lattice.mean(opened.raster))
    names = list(dict.fromkeys([*bands, *pictures.bands]))
    text = None if scene.image.dates else _virtual(scene, names, opened.grid, folder)
    if text is not None:
        file = f"{scene.id}.vrt"
        (folder / file).write_text(text, encoding="utf-8")
        return Shown(file, tuple(names.index(band) + 1 for band in pictures.bands), ranges)
    file = f"{scene.id}-image.tif"
    _write_picture(folder / file, opened, ThumbnailGrid.of(opened.area, pictures.longest_side))
    return Shown(file, tuple(range(1, len(pictures.bands) + 1)), ranges)


def _range(band: NDArray[np.float64], stretch: tuple[float, float]) -> Range:
    known = band[~np.isnan(band)]
    low, high = np.percentile(known, stretch) if known.size else (0.0, 1.0)
    return float(low), float(high if high > low else low + 1)


def _write_picture(path: Path, opened: "OpenScene", lattice: ThumbnailGrid) -> None:
    """Write the means of blocks of pixels, float32, NaN without a value."""
    import rasterio

    values = lattice.mean(opened.raster).astype(np.float32)
    corner = Affine.translation(lattice.area.col, lattice.area.row) @ Affine.scale(lattice.step)
    transform, crs = opened.grid.transform @ corner, opened.grid.crs
    about: dict[str, Any] = {"count": len(values), "height": lattice.shape[0], "width": lattice.shape[1]}
    about |= {"crs": crs, "transform": transform, "nodata": np.nan, "dtype": "float32", "compress": "deflate"}
    with rasterio.open(path, "w", driver="GTiff", tiled=True, **about) as file:
        file.write(values)


def _virtual(scene: "Scene", names: Sequence[str], grid: Grid, folder: Path) -> str | None:
    """Return a virtual raster of bands; None unless they are local files on axes parallel to the grid's."""
    origin = scene.image.origin(names)
    plain = origin.target is None and all(_plain(path) for one in origin.channels for path in one.files)
    if not plain:
        return None
    root = ET.Element("VRTDataset", rasterXSize=str(grid.shape[1]), rasterYSize=str(grid.shape[0]))
    if grid.crs is not None:
        ET.SubElement(root, "SRS").text = grid.crs.to_wkt()
    if grid.transform != Affine.identity():
        ET.SubElement(root, "GeoTransform").text = ", ".join(map(repr, map(float, grid.transform.to_gdal())))
    known: dict[str, Any] = {}
    for number, channel in enumerate(origin.channels, 1):
        sources = list(_sources(channel, grid, folder, known))
        if len(sources) < len(channel.pieces):
            return None
        about = known[channel.files[0]]
        dtype = about["types"][channel.pieces[0][1] - 1]
        band = ET.SubElement(root, "VRTRasterBand", dataType=dtype, band=str(number))
        ET.SubElement(band, "Description").text = channel.name
        nodata = about["nodata"] if channel.nodata is None else channel.nodata
        if nodata is not None:
            ET.SubElement(band, "NoDataValue").text = repr(nodata)
        for source in reversed(sources):  # the last one is drawn on top
            if nodata is not None:
                ET.SubElement(source, "NODATA").text = repr(nodata)
            band.append(source)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _plain(path: str) -> bool:
    return not is_remote(path) and path.lower().endswith(FILE)


def _sources(channel: Channel, grid: Grid, folder: Path, known: dict[str, Any]) -> Iterator[ET.Element]:
    """Yield the files of a band that lie on axes parallel to the grid's, as elements of its virtual raster."""
    home = folder.with_name(folder.name.removeprefix(".part-"))
    for path, number in channel.pieces:
        about = known[path] = known.get(path) or _about(path)
        place = ~grid.transform @ about["transform"]
        if about["crs"] != grid.crs or abs(place.b) > 1e-9 or abs(place.d) > 1e-9 or place.a <= 0 or place.e <= 0:
            return
        height, width = about["shape"]
        source = ET.Element("ComplexSource")
        if (place.a, place.e) != (1, 1) and channel.resampling != "nearest":
            source.set("resampling", channel.resampling)
        relative = os.path.relpath(Path(path).absolute(), home.absolute())
        ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = Path(relative).as_posix()
        ET.SubElement(source, "SourceBand").text = str(number)
        here = _rectangle(place.c, place.f, width * place.a, height * place.e)
        ET.SubElement(source, "SrcRect", _rectangle(0, 0, width, height))
        ET.SubElement(source, "DstRect", here)
        yield source


def _rectangle(left: float, top: float, width: float, height: float) -> dict[str, str]:
    return {"xOff": f"{left:.9g}", "yOff": f"{top:.9g}", "xSize": f"{width:.9g}", "ySize": f"{height:.9g}"}


def _about(path: str) -> Mapping[str, Any]:
    with open_raster(path) as file:
        return {
            "transform": file.transform,
            "crs": file.crs,
            "shape": file.shape,
            "nodata": file.nodata,
            "types": [GDAL_TYPES[dtype] for dtype in file.dtypes],
        }
