"""A raster's values as numbers on a scene's grid: whole numbers, or colours in 24 bits."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterioWindow

from quadrat.errors import LabelError
from quadrat.scenes.files import ROW_BLOCKS, TROUBLE, keep_blocks
from quadrat.scenes.grid import SHIFT, Grid
from quadrat.scenes.reader import TOLERANCE
from quadrat.scenes.trouble import grid_of
from quadrat.scenes.vector import bounds, check_crs, crs_name, no_way
from quadrat.windows import Window

PIECE = 2**18
"""Px that are given at once: what is made of them takes many bytes each."""

WIDE = 4096
"""Px of a block that lies beside few tiles of an image."""


@dataclass(frozen=True)
class Format:
    """Where the values stand: the bands (from 1), their nodata, and the colours of a colour table."""

    bands: tuple[int, ...]
    nodata: float | None = None
    palette: NDArray[np.int64] | None = None
    """Colours by index; -1 is transparent."""


class Pixels:
    """An open raster's values. Not shared between threads."""

    def __init__(self, path: str, grid: Grid, scene: str, files: ExitStack) -> None:
        """Open the file; it closes with ``files``."""
        self.path, self.grid, self.scene = path, grid, scene
        try:
            self._source = files.enter_context(rasterio.open(path))
        except TROUBLE as cause:
            raise self._error("the labels can't be opened", got=cause, mend="check the path in the catalog") from cause
        self._check_place(grid_of(self._source, path, LabelError, scene))
        self._dataset = self._on_grid(files)
        if self._dataset is not self._source or self._source.block_shapes[0][1] > WIDE:
            keep_blocks(ROW_BLOCKS)  # many tiles of an image share them

    def read(self, window: Window, form: Format) -> Iterator[tuple[slice, NDArray[Any], NDArray[np.bool_]]]:
        """Give rows of a window within the grid, their values (whole numbers), and where they have one (y, x)."""
        values, mask = self._read(window, form)
        step = max(1, PIECE // window.width)
        for row in range(0, window.height, step):
            rows = slice(row, min(row + step, window.height))
            yield rows, *_meant(values[:, rows], None if mask is None else mask[rows], form)

    def read_bytes(self, window: Window, form: Format, into: bytearray) -> None:
        """Read the bytes of a window within the grid as they are stored, of what has ``byte_meanings``, row by row."""
        self._values(window, form, np.frombuffer(into, np.uint8).reshape(1, *window.shape))

    def byte_meanings(self, form: Format) -> tuple[NDArray[Any], NDArray[np.bool_]] | None:
        """Return what ``read`` gives of each byte (256,); None where not one byte alone says what a pixel is."""
        if self._masked(form) or self._dataset.dtypes[form.bands[0] - 1] != "uint8":
            return None
        numbers, labelled = _meant(np.arange(256, dtype=np.uint8)[None, None], None, form)
        return numbers[0], labelled[0]

    def _read(self, window: Window, form: Format) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
        """Return stored values (band, y, x), and where there are some (y, x), not 0, where a mask says so."""
        values = self._values(window, form)
        if not self._masked(form):
            return values, None
        with self._whole():
            if len(form.bands) > 1:
                return values, self._dataset.dataset_mask(window=_area(window))
            return values, self._dataset.read_masks(form.bands[0], window=_area(window))

    def _values(self, window: Window, form: Format, into: NDArray[np.uint8] | None = None) -> NDArray[Any]:
        """Return stored values (band, y, x), in an array that is there for them or in a new one."""
        with self._whole():
            values: NDArray[Any] = self._dataset.read(list(form.bands), window=_area(window), out=into)
        return values

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Raise LabelError where the file turns out not to be whole."""
        try:
            yield
        except TROUBLE as cause:
            mend = "fetch the file again"
            raise self._error("the labels can't be read: the file is damaged", got=cause, mend=mend) from cause

    def _masked(self, form: Format) -> bool:
        """Return whether something else than nodata says where there are values."""
        flags = {*self._dataset.mask_flag_enums[form.bands[0] - 1]}
        return len(form.bands) > 1 or not flags <= {MaskFlags.all_valid, MaskFlags.nodata}

    def ids(self, band: int) -> Format:
        """Return the format of whole numbers in ``band``."""
        source = self._source
        if band > source.count or np.dtype(source.dtypes[band - 1]).kind not in "iu":
            expected = f"whole numbers in band {band}"
            raise self._unlike(expected, "convert it with `gdal_translate -ot Byte`, or correct 'band' in the catalog")
        return Format((band,), source.nodatavals[band - 1])

    def colors(self) -> Format:
        """Return the format of colours in the first three bands, or in the colour table of the first."""
        source = self._source
        if source.count >= 3 and set(source.dtypes[:3]) == {"uint8"}:
            return Format((1, 2, 3))
        try:
            table = source.colormap(1)
        except ValueError:  # there is none
            expected = "red, green and blue as bytes, or a colour table"
            raise self._unlike(expected, "correct 'values' of the labels in the catalog") from None
        palette = np.zeros(np.iinfo(source.dtypes[0]).max + 1, np.int64)
        for index, (red, green, blue, alpha) in table.items():
            palette[index] = red << 16 | green << 8 | blue if alpha else -1
        return Format((1,), source.nodatavals[0], palette)

    def _check_place(self, own: Grid) -> None:
        check_crs(self.grid, own.crs, self.path, LabelError, self.scene)
        if own.crs is None and not self._alike(own):
            raise self._error(
                "labels without a CRS must have the image's own pixels",
                expected=f"{self.grid.shape[1]} × {self.grid.shape[0]} px",
                got=f"{own.shape[1]} × {own.shape[0]} px, with another size or place",
                mend="resample the labels to the image",
            )
        try:
            apart = not _meet(self.grid, own)
        except ProjError as cause:
            raise no_way(self.grid, own.crs, self.path, LabelError, self.scene) from cause
        if apart:
            raise self._error(
                "no label lies on the image",
                expected=f"a raster that meets {bounds(self.grid)} ({crs_name(self.grid.crs)})",
                got=f"one within {bounds(own)} ({crs_name(own.crs)})",
                mend="check the labels' CRS and that they belong to this image",
            )

    def _on_grid(self, files: ExitStack) -> Any:
        source, grid = self._source, self.grid
        if self._alike(Grid(source.crs, source.transform, source.shape)):
            return source
        transparent = ColorInterp.alpha in source.colorinterp
        return files.enter_context(
            WarpedVRT(
                source,
                crs=grid.crs,
                transform=grid.transform,
                height=grid.shape[0],
                width=grid.shape[1],
                resampling=Resampling.nearest,
                add_alpha=not transparent,  # 0 beyond the source's edge, too
                tolerance=TOLERANCE,
                UNIFIED_SRC_NODATA="YES",  # a colour is none where all bands are
            )
        )

    def _alike(self, own: Grid) -> bool:
        return (own.crs, own.shape) == (self.grid.crs, self.grid.shape) and own.shift(self.grid) <= SHIFT

    def _unlike(self, expected: str, mend: str) -> LabelError:
        got = ", ".join(self._source.dtypes)
        return self._error("the labels' pixels are of another type", expected=expected, got=got, mend=mend)

    def _error(self, problem: str, *, mend: str, got: object, expected: object = None) -> LabelError:
        return LabelError(problem, self.scene, self.path, expected=expected, got=got, mend=mend)


def _meant(
    values: NDArray[Any], mask: NDArray[np.uint8] | None, form: Format
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return stored ``values`` (band, y, x) as numbers, and where they say something (y, x)."""
    numbers = _numbers(values, form)
    labelled = np.ones(numbers.shape, np.bool_) if mask is None else mask > 0
    if form.palette is not None:
        labelled &= numbers >= 0
    if form.nodata is not None:
        labelled &= values[0] != form.nodata
    return numbers, labelled


def _area(window: Window) -> Any:
    return RasterioWindow(window.col, window.row, window.width, window.height)


def _numbers(values: NDArray[Any], form: Format) -> NDArray[Any]:
    numbers: NDArray[Any] = values[0] if len(values) == 1 else values[0].astype(np.int64)
    for band in values[1:]:
        numbers = numbers << 8 | band
    return numbers if form.palette is None else form.palette[numbers]


def _meet(grid: Grid, own: Grid) -> bool:
    """Return whether the grids share ground; True where that can't be told."""
    side = max(grid.shape) / 16
    outline = shapely.segmentize(shapely.box(0, 0, grid.shape[1], grid.shape[0]), side)
    points = np.column_stack(grid.transform @ tuple(shapely.get_coordinates(outline).T))
    if grid.crs is not None and own.crs != grid.crs:
        there = Transformer.from_crs(CRS.from_user_input(grid.crs), CRS.from_user_input(own.crs), always_xy=True)
        points = np.column_stack(there.transform(*points.T))
    cols, rows = ~own.transform @ tuple(points.T)
    if not (np.isfinite(cols).all() and np.isfinite(rows).all()):
        return True
    moved = shapely.Polygon(np.column_stack([cols, rows])).buffer(0)
    return bool(shapely.intersection(moved, shapely.box(0, 0, own.shape[1], own.shape[0])).area > 0)
