"""Raster files: GDAL's settings, headers, and checks that bands can be read."""

import os
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError  # what rasterio.errors leaves out
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.env import set_gdal_config  # rasterio.Env would reset it for all threads when it ends
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from quadrat.errors import ImageError
from quadrat.geo.files.file_errors import grid_of
from quadrat.geo.files.opening import open_raster
from quadrat.geo.grids.grid import Grid
from quadrat.geo.sources.bands import storable
from quadrat.geo.sources.channel import is_remote

NETWORK = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no listing of the folder, and no search for files beside the image
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
}
"""Default settings of GDAL for remote files; the environment takes precedence."""

VIRTUAL = {"GDAL_VRT_ENABLE_PYTHON": "NO", "GDAL_VRT_ENABLE_RAWRASTERBAND": "NO"}
"""Settings that the environment can't override: virtual rasters run no code and read no raw files."""

ROW_BLOCKS, SHARED_BLOCKS = 32, 512
"""MB of decoded blocks that GDAL keeps: by default (``quadrat.__main__``), and where strips share them."""

TROUBLE = (RasterioError, CPLE_BaseError, OSError, UnicodeError)
"""Errors that opening and reading raise for damaged files."""

SIGNED = {
    "expected": "the data type Int8",
    "hint": 'convert it (gdal_translate -ot Int8 …, or dataType="Int8" in a VRT)',
}
"""Expected and hint of the error for bytes that a tag marks as signed."""

WIDE = ("int64", "uint64")
"""Data types with values that a float can't hold."""

COLORS = ColorInterp.red, ColorInterp.green, ColorInterp.blue
"""Names of the colour bands in files, in the order of a colour's 24 bits."""


@dataclass(frozen=True)
class Header:
    """The header of a file; fields with a value per band are in the order of the bands."""

    path: str
    grid: Grid
    dtypes: tuple[str, ...]
    nodata: tuple[float | None, ...]
    """Exact: an int if a float can't hold the 64-bit value."""
    meanings: tuple[tuple[float, float], ...]
    """Scale and offset; (1, 0) if the file has none."""
    units: tuple[str | None, ...]
    """The unit of the values in the file; None or empty if it has none."""
    colors: tuple[ColorInterp, ...]
    names: tuple[str | None, ...]
    """The names of the bands in the file; None if it has none."""
    block: tuple[int, int]
    """Height and width of a block, px."""
    within: tuple[str, ...]
    """Names of the rasters in a file with several (such as pages), of which GDAL opens the first."""
    masked: tuple[bool, ...]
    """Whether the band has a mask (nodata and an alpha band are not masks)."""
    shared: bool
    """Whether it is one mask for all bands."""

    def called(self, number: int) -> str | None:
        """Return the band's description, or else its colour interpretation; None if it has neither."""
        color = self.colors[number - 1]
        return self.names[number - 1] or (color.name if color in COLORS else None)

    @property
    def alpha(self) -> int | None:
        """The number of the alpha band, if there is one."""
        return self.colors.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in self.colors else None


def environment(paths: Sequence[str]) -> AbstractContextManager[Any]:
    """Return GDAL's settings for reading ``paths``; for remote paths, the environment takes precedence.

    GDAL's JPEG 2000 reader gets no threads of its own: with them, it silently returns zeros for damaged files (3.10).
    """
    settings = {name: value for name, value in NETWORK.items() if name not in os.environ}
    context: AbstractContextManager[Any] = rasterio.Env(
        GDAL_NUM_THREADS="1", **VIRTUAL, **(settings if any(map(is_remote, paths)) else {})
    )
    return context


def keep_shared_blocks() -> None:
    """Let GDAL cache blocks that strips share, unless the user has set the size of the cache."""
    if os.environ.get("GDAL_CACHEMAX") == str(ROW_BLOCKS):
        set_gdal_config("GDAL_CACHEMAX", SHARED_BLOCKS << 20)


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """Open a file; raise ImageError if it can't be."""
    try:
        with environment((path,)):
            dataset = open_raster(path)
    except TROUBLE as error:
        remote = "check the path, and the credentials and endpoint in the environment (AWS_…)"
        local = "check the path in the catalog; `quadrat sample` or `dvc pull` provides data that is missing"
        hint = remote if is_remote(path) else local
        raise ImageError("the image can't be opened", file=path, got=error, hint=hint) from error
    with dataset:
        yield dataset


def header(dataset: Any, path: str) -> Header:
    """Return the file's header; raise ImageError if its pixels are not on a grid."""
    if dataset.transform.is_identity and (dataset.gcps[0] or dataset.rpcs):
        kind, option = ("ground control points", "-tps") if dataset.gcps[0] else ("rational polynomials (RPC)", "-rpc")
        raise ImageError(
            f"the image has {kind}, but no grid on the ground",
            file=path,
            expected="a transform from pixels to the ground, or no place at all (then pixel coordinates count)",
            hint=f"warp it to a grid: gdalwarp {option} …",
        )
    if has_signed_bytes(dataset):
        raise ImageError("the image marks its bytes as signed by a tag that GDAL no longer reads", **SIGNED, file=path)
    flags = dataset.mask_flag_enums
    return Header(
        path,
        grid_of(dataset, path),
        tuple(dataset.dtypes),
        nodata_of(dataset),
        tuple(zip(dataset.scales, dataset.offsets, strict=True)),
        tuple(dataset.units),
        tuple(dataset.colorinterp),
        tuple(dataset.descriptions),
        dataset.block_shapes[0],
        tuple(dataset.subdatasets),
        tuple(is_mask(each) for each in flags),
        all(MaskFlags.per_dataset in each for each in flags if is_mask(each)),
    )


def has_signed_bytes(dataset: Any) -> bool:
    """Return whether a tag marks a band as signed bytes, as before GDAL 3.7; GDAL reads them as unsigned now."""
    return any(
        dtype == "uint8" and dataset.tags(number, ns="IMAGE_STRUCTURE").get("PIXELTYPE") == "SIGNEDBYTE"
        for number, dtype in enumerate(dataset.dtypes, 1)
    )


def is_mask(flags: Collection[MaskFlags]) -> bool:
    """Return whether flags mean a mask, not only nodata or alpha; a band with its own mask has none of these flags."""
    told_otherwise = {MaskFlags.all_valid, MaskFlags.alpha}.intersection(flags)
    return not told_otherwise and (MaskFlags.per_dataset in flags or MaskFlags.nodata not in flags)


def nodata_of(dataset: Any) -> tuple[float | None, ...]:
    """Return the exact nodata value of each band; None if there is none, or the data type can't hold it."""
    found = list(dataset.nodatavals)
    wide = [place for place, dtype in enumerate(dataset.dtypes) if dtype in WIDE]
    if wide:  # rasterio converts them to float, which is not exact
        with MemoryFile(ext=".vrt") as file:
            rasterio.shutil.copy(dataset, file.name, driver="VRT")
            bands = ET.fromstring(bytes(file.getbuffer())).findall("VRTRasterBand")  # noqa: S314 (GDAL wrote it)
        for place in wide:
            text = bands[place].findtext("NoDataValue")
            found[place] = None if text is None else storable(_number(text), np.dtype(dataset.dtypes[place]))
    return tuple(found)


def category_names(dataset: Any) -> dict[int, str]:
    """Return the names that a file has for the values of its first band."""
    with MemoryFile(ext=".vrt") as file:
        rasterio.shutil.copy(dataset, file.name, driver="VRT")
        root = ET.fromstring(bytes(file.getbuffer()))  # noqa: S314 (GDAL wrote it)
    listed = root.findall("VRTRasterBand[@band='1']/CategoryNames/Category")
    return {number: one.text.strip() for number, one in enumerate(listed) if one.text and one.text.strip()}


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def facts(path: str, **settings: str) -> dict[str, str]:
    """Return the metadata of a raster that may change its pixels, by kind; empty if GDAL can't open it.

    ``settings`` are further GDAL settings.
    """
    try:
        with environment((path,)), rasterio.Env(**settings), open_raster(path) as dataset:
            found = {
                "size": dataset.shape,
                "data types": dataset.dtypes,
                "CRS": dataset.crs,
                "transform": tuple(dataset.transform),
                "ground control points": dataset.gcps,
                "rational polynomials": dataset.rpcs and dataset.rpcs.to_gdal(),
                "nodata": nodata_of(dataset),
                "masks": dataset.mask_flag_enums,
                "scale and offset": (dataset.scales, dataset.offsets),
                "names of bands": dataset.descriptions,
                "colours": (dataset.colorinterp, [_colors(dataset, number) for number in dataset.indexes]),
                "rasters within": dataset.subdatasets,
            }
    except (*TROUBLE, ImageError):
        return {}
    return {name: repr(value) for name, value in found.items()}


def _colors(dataset: Any, number: int) -> Any:
    try:
        return dataset.colormap(number)
    except ValueError:  # there are none
        return None
