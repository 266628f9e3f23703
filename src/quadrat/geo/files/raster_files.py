"""Raster files: GDAL's settings, headers, and checks that bands can be read."""

import math
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
from rasterio.env import set_gdal_config  # rasterio.Env would take it back at its end, from all threads
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from quadrat.errors import ImageError
from quadrat.geo.files.file_errors import grid_of
from quadrat.geo.files.opening import open_raster
from quadrat.geo.grids.grid import Grid
from quadrat.geo.sources.bands import storable
from quadrat.geo.sources.channel import Channel, is_remote

NETWORK = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no listing of the folder, and no search for files beside the image
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
}
"""Default settings of GDAL for remote files; the environment takes precedence."""

VIRTUAL = {"GDAL_VRT_ENABLE_PYTHON": "NO", "GDAL_VRT_ENABLE_RAWRASTERBAND": "NO"}
"""What virtual rasters don't do, whatever the environment says: run what they hold, and take any file for pixels."""

ROW_BLOCKS, SHARED_BLOCKS = 32, 512
"""MB of decoded blocks that GDAL keeps: by default (``quadrat.__main__``), and where strips share them."""

TROUBLE = (RasterioError, CPLE_BaseError, OSError, UnicodeError)
"""Errors that opening and reading raise for damaged files."""

SIGNED = {
    "expected": "the data type Int8",
    "hint": 'write it anew (gdal_translate -ot Int8 …, or dataType="Int8" in a VRT)',
}
"""Of an error about bytes that are said to have signs by a tag."""

WIDE = ("int64", "uint64")
"""Data types with values that a float can't hold."""

COLORS = ColorInterp.red, ColorInterp.green, ColorInterp.blue
"""What files call the bands of a colour, in the order of its 24 bits."""

SAME = 1e-6
"""Relative difference of two factors that are the same but for rounding: files may hold them as float32."""


@dataclass(frozen=True)
class Header:
    """What is known of a file without its pixels; what is said per band stands in the bands' order."""

    path: str
    grid: Grid
    dtypes: tuple[str, ...]
    nodata: tuple[float | None, ...]
    """Exact: ints of 64 bits where a float can't hold them."""
    meanings: tuple[tuple[float, float], ...]
    """Scale and offset; (1, 0) where the file says nothing."""
    units: tuple[str | None, ...]
    """What the file calls the unit of its values; None or empty if it says nothing."""
    colors: tuple[ColorInterp, ...]
    names: tuple[str | None, ...]
    """What the file calls its bands; None if it doesn't."""
    block: tuple[int, int]
    """Height and width of what is decoded at once, px."""
    within: tuple[str, ...]
    """What the rasters within a file are called that holds several, such as pages, and gives the first for all."""
    masked: tuple[bool, ...]
    """Whether a mask says which of the band's pixels count (nodata and an alpha band are none)."""
    shared: bool
    """Whether that is one mask of all bands."""

    def called(self, number: int) -> str | None:
        """Return what the file calls a band: its description, or else the colour it is shown in; None for neither."""
        color = self.colors[number - 1]
        return self.names[number - 1] or (color.name if color in COLORS else None)

    @property
    def alpha(self) -> int | None:
        """The number of the alpha band, if there is one."""
        return self.colors.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in self.colors else None


def environment(paths: Sequence[str]) -> AbstractContextManager[Any]:
    """Return GDAL's settings for reading ``paths``; of those for remote ones, the environment's come first.

    With threads of its own, GDAL's reader of JPEG 2000 says nothing of damage and leaves zeros (seen in 3.10): so it
    has none.
    """
    settings = {name: value for name, value in NETWORK.items() if name not in os.environ}
    context: AbstractContextManager[Any] = rasterio.Env(
        GDAL_NUM_THREADS="1", **VIRTUAL, **(settings if any(map(is_remote, paths)) else {})
    )
    return context


def keep_shared_blocks() -> None:
    """Let GDAL keep blocks that strips share, unless the user has set how many it keeps."""
    if os.environ.get("GDAL_CACHEMAX") == str(ROW_BLOCKS):
        set_gdal_config("GDAL_CACHEMAX", SHARED_BLOCKS << 20)


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """Open a file; raise ImageError if it can't be."""
    try:
        with environment((path,)):
            dataset = open_raster(path)
    except TROUBLE as error:
        remote = "check the path, and the credentials and endpoint that the environment gives (AWS_…)"
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
            hint=f"bring it to a grid: gdalwarp {option} …",
        )
    if has_signed_bytes(dataset):
        raise ImageError(
            "the image says in a form that GDAL reads no more that its bytes have signs", **SIGNED, file=path
        )
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
    """Return whether a band is said to hold bytes with a sign by a tag, as before GDAL 3.7: they are read without."""
    return any(
        dtype == "uint8" and dataset.tags(number, ns="IMAGE_STRUCTURE").get("PIXELTYPE") == "SIGNEDBYTE"
        for number, dtype in enumerate(dataset.dtypes, 1)
    )


def is_mask(flags: Collection[MaskFlags]) -> bool:
    """Return whether flags tell of a mask, not of nodata or alpha alone; a band with a mask of its own has none."""
    told_otherwise = {MaskFlags.all_valid, MaskFlags.alpha}.intersection(flags)
    return not told_otherwise and (MaskFlags.per_dataset in flags or MaskFlags.nodata not in flags)


def nodata_of(dataset: Any) -> tuple[float | None, ...]:
    """Return the nodata value of each band, exactly; None if there is none, or none that the data type holds."""
    said = list(dataset.nodatavals)
    wide = [place for place, dtype in enumerate(dataset.dtypes) if dtype in WIDE]
    if wide:  # rasterio makes floats of them, and none of what a float can't hold
        with MemoryFile(ext=".vrt") as file:
            rasterio.shutil.copy(dataset, file.name, driver="VRT")
            bands = ET.fromstring(bytes(file.getbuffer())).findall("VRTRasterBand")  # noqa: S314 (GDAL wrote it)
        for place in wide:
            text = bands[place].findtext("NoDataValue")
            said[place] = None if text is None else storable(_number(text), np.dtype(dataset.dtypes[place]))
    return tuple(said)


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def facts(path: str, **settings: str) -> dict[str, str]:
    """Return what GDAL says of a raster, by what it is, that may change what is read; nothing where it can't open it.

    ``settings`` are further ones of GDAL.
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


def check(channel: Channel, number: int, header: Header) -> None:
    """Raise ImageError if band ``number`` of a file can't be read as the channel says."""
    if number > len(header.dtypes):
        raise ImageError(
            "the file has fewer bands than the catalog names",
            file=header.path,
            expected=f"a band number {number}: {channel.name}",
            got=f"{len(header.dtypes)} bands",
        )
    if channel.alone and len(header.dtypes) - (header.alpha is not None) > 1:
        raise ImageError(
            "a file of one band holds more",
            file=header.path,
            expected=f"band {channel.name} alone",
            got=f"{len(header.dtypes)} bands",
            hint=f"say which it is ('bands: {{{channel.name}: 1}}'), or give the file a source of its own, without "
            "{band} in its path",
        )
    if header.dtypes[number - 1].startswith("complex"):
        raise ImageError(
            f"band {channel.name} holds complex numbers, which mean nothing to a model",
            file=header.path,
            got=header.dtypes[number - 1],
            hint="write amplitude and phase, or both parts, as bands of their own",
        )
    if header.colors[number - 1] == ColorInterp.palette:
        raise ImageError(
            f"band {channel.name} holds numbers of colours in a palette, not values",
            file=header.path,
            hint="write the colours as bands (gdal_translate -expand rgb); if the numbers are what is meant, "
            "take the palette off (gdal_edit.py -colorinterp_1 gray)",
        )
    if channel.mask and not (header.masked[number - 1] or header.alpha):
        raise ImageError("the file has neither mask nor alpha band", file=header.path, hint="leave out 'mask: true'")
    if not channel.ignore_tags:
        _check_meaning(channel, header.meanings[number - 1], header.path)
        _check_nodata(channel, header.dtypes[number - 1], header.nodata[number - 1], header.path)


def _check_meaning(channel: Channel, said: tuple[float, float], path: str) -> None:
    if channel.scale is None or channel.offset is None:
        return
    alike = all(
        math.isclose(one, other, rel_tol=SAME, abs_tol=1e-12)
        for one, other in zip(said, (channel.scale, channel.offset), strict=True)
    )
    silent = said == (1.0, 0.0)  # what GDAL says where a file says nothing
    if silent or alike:
        return
    raise ImageError(
        f"the file says of band {channel.name} another scale and offset than the catalog",
        file=path,
        expected=f"scale {channel.scale:g}, offset {channel.offset:g} (the catalog's)",
        got=f"scale {said[0]:g}, offset {said[1]:g} (the file's)",
        hint="correct the catalog; if the file is wrong, say so there with 'ignore_tags: true'",
    )


def _check_nodata(channel: Channel, dtype: str, said: float | None, path: str) -> None:
    """Raise ImageError if the file says another nodata value than the catalog, and some pixel could be it."""
    mine, theirs = (storable(value, np.dtype(dtype)) for value in (channel.nodata, said))
    if channel.nodata is None or theirs is None or mine == theirs or not math.isfinite(theirs):
        return  # NaN and infinity are no values, whatever is said
    raise ImageError(
        f"the file says of band {channel.name} another nodata value than the catalog",
        file=path,
        expected=f"{channel.nodata} (the catalog's)" + (f", which no {dtype} is" if mine is None else ""),
        got=f"{theirs} (the file's)",
        hint="leave 'nodata' out of the catalog, or correct it; if the file is wrong, say so there with "
        "'ignore_tags: true'",
    )
