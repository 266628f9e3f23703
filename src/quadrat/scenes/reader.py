"""Bands that are read together: a file, or a mosaic of files, on a grid."""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform as warp_transform
from rasterio.windows import Window as RasterioWindow
from shapely.geometry import MultiPoint, box

from quadrat.errors import CatalogError, ImageError
from quadrat.memory import Empty
from quadrat.scenes.bands import Band, storable
from quadrat.scenes.channel import Channel, gdal_name, is_remote
from quadrat.scenes.files import ROW_BLOCKS, SHARED_BLOCKS, TROUBLE, Header, check, environment, keep_blocks
from quadrat.scenes.grid import Grid
from quadrat.scenes.mosaic import Mosaic, mosaic
from quadrat.windows import Window

TOLERANCE = 1e-3
"""Largest error of a resampled pixel's place, px of the source (GDAL's own default is 0.125)."""

TALL = 1024
"""Most rows that are read at once, px."""

MASK = 0
"""Stands for the number of a band: the dataset's mask."""


@dataclass(frozen=True)
class Reader:
    """An open dataset on the image's grid, and the numbers in it of the bands at ``places`` of the image."""

    dataset: Any
    files: tuple[str, ...]
    numbers: tuple[int, ...]
    places: tuple[int, ...]
    mask: int | None
    """The number of the alpha band, MASK, or None where nothing but values says what is valid."""
    block: tuple[int, int]
    """Height and width, px, of what is decoded at once; as wide as the image where that can't be told."""

    def read(
        self, window: Window | None, shape: tuple[int, int], empty: Empty
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return values (band, y, x), and where the mask says that they count (y, x), if there is one.

        None is the whole image; what is read is reduced to ``shape``, px. The values stand in what ``empty`` gives.
        """
        area = None if window is None else RasterioWindow(window.col, window.row, window.width, window.height)
        dtype = self.dataset.dtypes[self.numbers[0] - 1]
        with_alpha = self.mask and self.dataset.dtypes[self.mask - 1] == dtype
        numbers = [*self.numbers, self.mask] if with_alpha else [*self.numbers]
        try:
            with environment(self.files):
                pixels = empty((len(numbers), *shape), dtype)
                self.dataset.read(numbers, window=area, out=pixels)
                if self.mask is None:
                    return pixels, None
                if with_alpha:  # one read decodes what files hold pixel by pixel once
                    return pixels[:-1], pixels[-1] != 0
                if self.mask == MASK:
                    return pixels, self.dataset.read_masks(1, window=area, out_shape=shape) != 0
                return pixels, self.dataset.read(self.mask, window=area, out_shape=shape) != 0
        except TROUBLE as error:
            more, far = len(self.files) - 1, any(map(is_remote, self.files))
            raise ImageError(
                "the image can't be read: "
                + ("the object can't be reached" if far else "the file is damaged or cut short"),
                file=self.files[0] + (f" (and {more} more)" if more else ""),
                window=window,
                got=error.__cause__ or error,
                mend="check the network, then try again" if far else "fetch the file again",
            ) from error


@dataclass(frozen=True)
class Layout:
    """Bands that are read together: of the same files, with the same nodata, resampling and mask."""

    channels: tuple[Channel, ...]
    places: tuple[int, ...]
    mosaic: Mosaic
    nodata: float | None

    def open(self, grid: Grid, files: ExitStack) -> Reader:
        """Open the files, on ``grid``; raise where they miss it."""
        headers = self.mosaic.headers
        paths = tuple(header.path for header in headers)
        aligned = self.mosaic.grid == grid
        masks = self._masks()
        plain = len(headers) == 1 and (aligned or (masks is None and headers[0].alpha is None))  # else GDAL takes alpha
        numbers = tuple(channel.pieces[0][1] for channel in self.channels)
        alpha = masks[0] if masks and plain else None
        mask = None if masks is None else int(alpha) if alpha and alpha.isdigit() else MASK
        with environment(paths):
            dataset = files.enter_context(rasterio.open(gdal_name(paths[0]) if plain else self._virtual(masks)))
            numbers = numbers if plain else tuple(range(1, len(numbers) + 1))
            block = max(header.block[0] for header in headers), grid.shape[1]
            if plain and aligned:
                block = headers[0].block
                if block[0] > TALL:  # it is read in several parts
                    keep_blocks(ROW_BLOCKS)
            else:
                keep_blocks(SHARED_BLOCKS)
            if not aligned:
                dataset = files.enter_context(self._on_grid(dataset, grid))
                block = dataset.block_shapes[0][0], grid.shape[1]
                mask = dataset.count if self._fill is None else None  # the alpha band, which is the last
        return Reader(dataset, paths, numbers, self.places, mask, block)

    @property
    def _fill(self) -> float | None:
        """The value where there is none after resampling; None: a mask says where."""
        dtype = self.mosaic.headers[0].dtypes[self.channels[0].pieces[0][1] - 1]
        return np.nan if self.nodata is None and dtype.startswith("float") else self.nodata

    def _masks(self) -> list[str | None] | None:
        """Return each file's mask band; None where no file has one that counts, and values tell holes."""
        channel = self.channels[0]
        masks = [_mask(header, channel) for header in self.mosaic.headers]
        holes = len(masks) > 1 and self._fill is None
        return masks if any(masks) or holes else None

    def _virtual(self, masks: list[str | None] | None) -> str:
        numbers = [[number for _, number in channel.pieces] for channel in self.channels]
        return self.mosaic.virtual(numbers, self._fill, masks)

    def _on_grid(self, dataset: Any, grid: Grid) -> Any:
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
                mend="bring them to one size, or give them a transform and a CRS",
            )
        _check_reach(source, grid, path)
        options = {"add_alpha": True} if self._fill is None else {"src_nodata": self._fill, "nodata": self._fill}
        return WarpedVRT(
            dataset,
            crs=grid.crs,
            src_crs=source.crs,
            transform=grid.transform,
            height=grid.shape[0],
            width=grid.shape[1],
            resampling=Resampling[self.channels[0].resampling],
            tolerance=TOLERANCE,
            **options,
        )


def _mask(header: Header, channel: Channel) -> str | None:
    """Return the name of the file's mask band in a virtual raster, if it counts."""
    if channel.mask is False:
        return None
    if header.masked:
        return "mask,1"
    named = header.alpha in channel.numbers and not channel.mask  # 4-band files call their infrared alpha, unasked
    return None if header.alpha is None or named else str(header.alpha)


def _check_reach(source: Grid, grid: Grid, path: str) -> None:
    """Raise ImageError where no pixel of ``source`` lies on ``grid``, or none can be told to."""
    if source.crs != grid.crs and not (source.on_earth and grid.on_earth):
        raise ImageError(
            "no way is known from the file's CRS to the image's",
            file=path,
            expected=_bounds(grid),
            got=_bounds(source),
            mend="give both a CRS that has a place on Earth, or both the same local one",
        )
    step = 64 * abs(source.transform.determinant) ** 0.5  # straight in one CRS is bent in another
    outline = np.array(source.footprint(source.area).segmentize(step).exterior.coords)
    points = outline.T if source.crs == grid.crs else np.array(warp_transform(source.crs, grid.crs, *outline.T))
    points = points[:, np.isfinite(points).all(0)]
    into = ~grid.transform
    pixels = np.array([[into.a, into.b], [into.d, into.e]]) @ points + [[into.c], [into.f]]
    if pixels.shape[1] and MultiPoint(pixels.T).convex_hull.intersects(box(0, 0, grid.shape[1], grid.shape[0])):
        return
    raise ImageError(
        "the file misses the image's grid",
        file=path,
        expected=f"pixels within {_bounds(grid)}",
        got=f"pixels within {_bounds(source)}",
        mend="check that the sources belong to the same place, and their CRSs",
    )


def _bounds(grid: Grid) -> str:
    crs = "no CRS" if grid.crs is None else grid.crs.to_string()
    return "({}) ({})".format(", ".join(f"{value:.8g}" for value in grid.footprint(grid.area).bounds), crs)


def layouts(channels: Sequence[Channel], headers: Mapping[str, Header]) -> list[Layout]:
    """Sort channels by what can be read together; raise ImageError where files can't be read as they say."""
    groups: dict[Hashable, list[int]] = {}
    for place, channel in enumerate(channels):
        for path, number in channel.pieces:
            check(channel, number, headers[path])
        key = channel.files, repr(_nodata(channel, headers)), _dtype(channel, headers), channel.resampling
        groups.setdefault((*key, channel.mask, channel.numbers), []).append(place)
    found = []
    for places in groups.values():
        some = tuple(channels[place] for place in places)
        whole = mosaic([headers[path] for path in some[0].files])
        found.append(Layout(some, tuple(places), whole, _nodata(some[0], headers)))
    return found


def described(channel: Channel, headers: Mapping[str, Header]) -> Band:
    """Return what the values of a channel mean."""
    nodata = _nodata(channel, headers)
    return Band(
        name=channel.name,
        dtype=_dtype(channel, headers),
        unit=channel.unit,
        scale=channel.scale,
        offset=channel.offset,
        nodata=None if nodata is None or not np.isfinite(nodata) else nodata,
        date=channel.date,
    )


def _nodata(channel: Channel, headers: Mapping[str, Header]) -> float | None:
    dtype = np.dtype(_dtype(channel, headers))
    if channel.nodata is not None:
        return storable(channel.nodata, dtype)
    said = [headers[path].nodata[number - 1] for path, number in channel.pieces]
    _check_same("nodata", channel, said)
    return storable(said[0], dtype)


def _dtype(channel: Channel, headers: Mapping[str, Header]) -> str:
    said = [headers[path].dtypes[number - 1] for path, number in channel.pieces]
    _check_same("data type", channel, said)
    return said[0]


def _check_same(what: str, channel: Channel, said: Sequence[object]) -> None:
    for path, one in zip(channel.files, said, strict=True):
        if repr(one) != repr(said[0]):
            raise ImageError(
                f"the files of a mosaic have different {what} in band {channel.name}",
                file=path,
                expected=f"{said[0]} ({channel.files[0]})",
                got=one,
                mend="set 'nodata' in the catalog" if what == "nodata" else "convert the files to one data type",
            )
