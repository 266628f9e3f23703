"""Layouts: which bands of an image are read together, from which files, and how they reach its grid."""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform as warp_transform
from shapely.affinity import translate
from shapely.geometry import MultiPoint, box

from quadrat.errors import CatalogError, ImageError
from quadrat.geo.files.band_checks import check_band
from quadrat.geo.files.opening import open_raster, open_virtual
from quadrat.geo.files.raster_files import Header, environment, keep_shared_blocks
from quadrat.geo.geometry.extents import nearest
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.resampling import ResamplingName
from quadrat.geo.reading.mosaic import Mosaic, mosaic
from quadrat.geo.reading.reader import MASK, TOLERANCE, Reader, Stored, Way
from quadrat.geo.reading.wrapped_mosaic import towards, turn_of
from quadrat.geo.sources.bands import Band, storable
from quadrat.geo.sources.channel import Channel


@dataclass(frozen=True)
class Layout:
    """Bands that are read together: of the same files, with the same nodata, resampling and mask."""

    channels: tuple[Channel, ...]
    places: tuple[int, ...]
    mosaic: Mosaic
    nodata: float | None

    def way(self, grid: Grid) -> ResamplingName | None:
        """Return how the files are brought to ``grid``; None where they are on it."""
        return None if self.mosaic.grid == grid else self.channels[0].resampling

    def open(self, grid: Grid, files: ExitStack) -> Reader:
        """Open the files on ``grid``; raise ImageError if they don't overlap it."""
        with environment(self._paths):
            return self._resampled(grid, files) if self.way(grid) else self._aligned(files)

    def _aligned(self, files: ExitStack) -> Reader:
        """Open files that are on the grid; holes are given by a mask or by nodata."""
        headers, masks = self.mosaic.headers, self._masks(several=len(self.mosaic) > 1 and self._fill is None)
        numbers = tuple(channel.pieces[0][1] for channel in self.channels)
        if len(headers) == 1:
            alpha = masks[0] if masks else None
            mask = None if alpha is None else int(alpha) if alpha.isdigit() else MASK
            dataset = files.enter_context(open_raster(self._paths[0]))
            return Reader(dataset, self._paths, numbers, self.places, mask, headers[0].block, self._stored)
        keep_shared_blocks()
        dataset = files.enter_context(open_virtual(self._virtual(self.mosaic, masks, masked=False)))
        numbers, mask = tuple(range(1, len(numbers) + 1)), MASK if masks and self._fill is None else None
        block = max(header.block[0] for header in headers), self.mosaic.grid.shape[1]
        way: Way = "plain" if masks is None and self._fill is None else "painted"
        return Reader(dataset, self._paths, numbers, self.places, mask, block, self._stored, way)

    def _resampled(self, grid: Grid, files: ExitStack) -> Reader:
        """Open files that are resampled to the grid; an alpha band, the last, gives all holes."""
        self._check_way(grid)
        mosaic = towards(self.mosaic, grid)
        keep_shared_blocks()
        masks = self._masks(several=mosaic.several or self._fill is not None)
        source = files.enter_context(open_virtual(self._virtual(mosaic, masks, masked=True)))
        dataset = files.enter_context(self._on_grid(source, mosaic.grid, grid))
        numbers, block = tuple(range(1, dataset.count)), (dataset.block_shapes[0][0], grid.shape[1])
        return Reader(dataset, self._paths, numbers, self.places, dataset.count, block, self._stored, "resampled")

    @property
    def _paths(self) -> tuple[str, ...]:
        return tuple(header.path for header in self.mosaic.headers)

    @property
    def _stored(self) -> Stored:
        return Stored(np.dtype(self.mosaic.headers[0].dtypes[self.channels[0].pieces[0][1] - 1]), self.nodata)

    @property
    def _fill(self) -> float | None:
        """The value of pixels without data; None if there is none."""
        return np.nan if self.nodata is None and self._stored.dtype.kind == "f" else self.nodata

    def _masks(self, *, several: bool) -> list[str | None] | None:
        """Return each file's mask band if it is used, or if ``several`` sources give holes; else None."""
        channel = self.channels[0]
        masks = [_mask(h, channel, n) for h, (_, n) in zip(self.mosaic.headers, channel.pieces, strict=True)]
        return masks if any(masks) or several else None

    def _virtual(self, mosaic: Mosaic, masks: list[str | None] | None, *, masked: bool) -> str:
        numbers = [[number for _, number in channel.pieces] for channel in self.channels]
        return mosaic.virtual(numbers, self._fill, masks, masked=masked)

    def _check_way(self, grid: Grid) -> None:
        """Raise CatalogError or ImageError if the files can't be resampled to the grid."""
        source = self.mosaic.grid
        path = self.mosaic.headers[0].path
        if (source.crs is None) != (grid.crs is None):
            raise CatalogError(
                "files with and without a CRS can't share a grid", file=path, expected=grid.crs, got=source.crs
            )
        if source.crs is None and source.transform.is_identity and grid.transform.is_identity:
            raise ImageError(
                "images of different size without a place can't share a grid",
                file=path,
                expected=f"{grid.shape[1]} × {grid.shape[0]} px",
                got=f"{source.shape[1]} × {source.shape[0]} px",
                hint="resample them to one size, or give them a transform and a CRS",
            )
        _check_reach(source, grid, path)

    def _on_grid(self, dataset: Any, source: Grid, grid: Grid) -> Any:
        return WarpedVRT(
            dataset,
            crs=grid.crs,
            src_crs=source.crs,
            transform=grid.transform,
            height=grid.shape[0],
            width=grid.shape[1],
            resampling=Resampling[self.channels[0].resampling],
            tolerance=TOLERANCE,
            add_alpha=True,  # with nodata, GDAL would change values that equal it, and mix the bands' holes
        )


def _mask(header: Header, channel: Channel, number: int) -> str | None:
    """Return the name of the file's mask band in a virtual raster, if it is used."""
    if channel.mask is False:
        return None
    if header.masked[number - 1]:
        return f"mask,{number}"
    # in 4-band files, the infrared band is often marked as alpha
    named = header.alpha in channel.numbers and not channel.mask
    return None if header.alpha is None or named else str(header.alpha)


def _check_reach(source: Grid, grid: Grid, path: str) -> None:
    """Raise ImageError if ``source`` and ``grid`` don't overlap, or no transformation is known."""
    if source.crs != grid.crs and not (source.on_earth and grid.on_earth):
        raise ImageError(
            "no transformation is known from the file's CRS to the image's",
            file=path,
            expected=_bounds(grid),
            got=_bounds(source),
            hint="give both a CRS that has a place on Earth, or both the same local one",
        )
    step = 64 * abs(source.transform.determinant) ** 0.5  # lines that are straight in one CRS are bent in another
    outline = np.array(source.footprint(source.area).segmentize(step).exterior.coords)
    points = outline.T if source.crs == grid.crs else np.array(warp_transform(source.crs, grid.crs, *outline.T))
    placed = np.isfinite(points).all(0)
    if placed.any() and _reaches(points[:, placed], outline.T[:, placed], source, grid):
        return
    raise ImageError(
        "the file does not overlap the image's grid",
        file=path,
        expected=f"pixels within {_bounds(grid)}",
        got=f"pixels within {_bounds(source)}",
        hint="check that the sources belong to the same place, and their CRSs",
    )


def _reaches(points: Any, before: Any, source: Grid, grid: Grid) -> bool:
    """Return whether an outline (2, point), ``before`` in the CRS of ``source``, encloses pixels of ``grid``."""
    into, frame = ~grid.transform, box(0, 0, grid.shape[1], grid.shape[0])
    linear, first = np.array([[into.a, into.b], [into.d, into.e]]), np.array([[into.c], [into.f]])
    if MultiPoint((linear @ points + first).T).convex_hull.intersects(frame):
        return True
    turn, own = turn_of(grid.crs), turn_of(source.crs)
    if turn and own:  # both CRSs have a seam, maybe at different longitudes
        x = nearest(points[0], points[0, 0] + (before[0] - before[0, 0]) * turn / own, turn)
        points = np.stack([x, points[1]])
    hull = MultiPoint((linear @ points + first).T).convex_hull
    turns = (number * turn for number in (-2, -1, 0, 1, 2) if turn)
    return any(translate(hull, into.a * x, into.d * x).intersects(frame) for x in turns)


def _bounds(grid: Grid) -> str:
    crs = "no CRS" if grid.crs is None else grid.crs.to_string()
    return "({}) ({})".format(", ".join(f"{value:.8g}" for value in grid.footprint(grid.area).bounds), crs)


def layouts(channels: Sequence[Channel], headers: Mapping[str, Header], grid: Grid) -> list[Layout]:
    """Group channels that can be read together onto ``grid``; raise ImageError if files don't fit their channels.

    A band with its own holes is read alone, because a mask can give the holes of one band only.
    """
    for channel in channels:
        for path, number in channel.pieces:
            check_band(channel, number, headers[path])
    about = [(_nodata(channel, headers), _dtype(channel, headers)) for channel in channels]
    mosaics = {files: mosaic([headers[path] for path in files]) for files in (c.files for c in channels)}
    groups: dict[Hashable, list[int]] = {}
    for place, (channel, (nodata, dtype)) in enumerate(zip(channels, about, strict=True)):
        several = all(headers[path].shared for path in channel.files) or channel.mask is False
        if mosaics[channel.files].grid != grid:
            several &= nodata is None and np.dtype(dtype).kind in "iu"
        key = channel.files, repr(nodata), dtype, channel.resampling, channel.mask, channel.numbers
        groups.setdefault((*key, None if several else place), []).append(place)
    return [
        Layout(
            tuple(channels[place] for place in places),
            tuple(places),
            mosaics[channels[places[0]].files],
            about[places[0]][0],
        )
        for places in groups.values()
    ]


def described(channel: Channel, headers: Mapping[str, Header]) -> Band:
    """Return the meaning of a channel's values."""
    nodata = _nodata(channel, headers)
    scale, offset = _meaning(channel, headers)
    return Band(
        name=channel.name,
        dtype=_dtype(channel, headers),
        unit=_unit(channel, headers),
        scale=scale,
        offset=offset,
        nodata=None if nodata is None or not np.isfinite(nodata) else nodata,
        date=channel.date,
    )


def _meaning(channel: Channel, headers: Mapping[str, Header]) -> tuple[float, float]:
    if channel.scale is not None and channel.offset is not None:
        return channel.scale, channel.offset
    values = [headers[path].meanings[number - 1] for path, number in channel.pieces]
    _check_same("scale and offset", channel, values)
    return values[0]


def _unit(channel: Channel, headers: Mapping[str, Header]) -> str:
    if channel.unit is not None:
        return channel.unit
    values = [headers[path].units[number - 1] for path, number in channel.pieces]
    _check_same("unit", channel, values)
    return values[0] or "DN"


def _nodata(channel: Channel, headers: Mapping[str, Header]) -> float | None:
    dtype = np.dtype(_dtype(channel, headers))
    if channel.nodata is not None:
        return storable(channel.nodata, dtype)
    values = [headers[path].nodata[number - 1] for path, number in channel.pieces]
    _check_same("nodata", channel, values)
    return storable(values[0], dtype)


def _dtype(channel: Channel, headers: Mapping[str, Header]) -> str:
    values = [headers[path].dtypes[number - 1] for path, number in channel.pieces]
    _check_same("data type", channel, values)
    return values[0]


def _check_same(what: str, channel: Channel, values: Sequence[object]) -> None:
    for path, one in zip(channel.files, values, strict=True):
        if repr(one) != repr(values[0]):
            raise ImageError(
                f"the files of a mosaic have different {what} in band {channel.name}",
                file=path,
                expected=f"{values[0]} ({channel.files[0]})",
                got=one,
                hint="convert the files to one data type"
                if what == "data type"
                else f"set {what} of the source, and 'ignore_tags: true', in the catalog",
            )
