"""Checks that a band of a file fits the catalog."""

import math

import numpy as np
from rasterio.enums import ColorInterp

from quadrat.errors import ImageError
from quadrat.geo.files.raster_files import Header
from quadrat.geo.sources.bands import storable
from quadrat.geo.sources.channel import Channel

SAME = 1e-6
"""Relative difference of equal factors, which files may store as float32."""


def check_band(channel: Channel, number: int, header: Header) -> None:
    """Raise ImageError if band ``number`` of a file does not fit the channel."""
    if number > len(header.dtypes):
        raise ImageError(
            "the file has fewer bands than the catalog names",
            file=header.path,
            expected=f"a band number {number}: {channel.name}",
            got=f"{len(header.dtypes)} bands",
        )
    if channel.alone and len(header.dtypes) - (header.alpha is not None) > 1:
        raise ImageError(
            "the file of a single band holds several",
            file=header.path,
            expected=f"band {channel.name} alone",
            got=f"{len(header.dtypes)} bands",
            hint=f"give its number ('bands: {{{channel.name}: 1}}'), or give the file its own source, without "
            "{band} in its path",
        )
    if header.dtypes[number - 1].startswith("complex"):
        raise ImageError(
            f"band {channel.name} holds complex numbers, which a model can't take",
            file=header.path,
            got=header.dtypes[number - 1],
            hint="write amplitude and phase, or both parts, as separate bands",
        )
    if header.colors[number - 1] == ColorInterp.palette:
        raise ImageError(
            f"band {channel.name} holds indices of a colour table, not values",
            file=header.path,
            hint="write the colours as bands (gdal_translate -expand rgb); if the numbers are values, "
            "remove the colour table (gdal_edit.py -colorinterp_1 gray)",
        )
    if channel.mask and not (header.masked[number - 1] or header.alpha):
        raise ImageError("the file has neither mask nor alpha band", file=header.path, hint="leave out 'mask: true'")
    if not channel.ignore_tags:
        _check_meaning(channel, header.meanings[number - 1], header.path)
        _check_nodata(channel, header.dtypes[number - 1], header.nodata[number - 1], header.path)


def _check_meaning(channel: Channel, found: tuple[float, float], path: str) -> None:
    if channel.scale is None or channel.offset is None:
        return
    alike = all(
        math.isclose(one, other, rel_tol=SAME, abs_tol=1e-12)
        for one, other in zip(found, (channel.scale, channel.offset), strict=True)
    )
    silent = found == (1.0, 0.0)  # GDAL's default
    if silent or alike:
        return
    raise ImageError(
        f"file and catalog have different scale and offset for band {channel.name}",
        file=path,
        expected=f"scale {channel.scale:g}, offset {channel.offset:g} (the catalog's)",
        got=f"scale {found[0]:g}, offset {found[1]:g} (the file's)",
        hint="correct the catalog; if the file is wrong, say so there with 'ignore_tags: true'",
    )


def _check_nodata(channel: Channel, dtype: str, found: float | None, path: str) -> None:
    """Raise ImageError if the nodata values of file and catalog differ, and a pixel could have the file's."""
    mine, theirs = (storable(value, np.dtype(dtype)) for value in (channel.nodata, found))
    if channel.nodata is None or theirs is None or mine == theirs or not math.isfinite(theirs):
        return  # NaN and infinity are never values
    raise ImageError(
        f"file and catalog have different nodata values for band {channel.name}",
        file=path,
        expected=f"{channel.nodata} (the catalog's)" + (f", which no {dtype} is" if mine is None else ""),
        got=f"{theirs} (the file's)",
        hint="leave 'nodata' out of the catalog, or correct it; if the file is wrong, say so there with "
        "'ignore_tags: true'",
    )
