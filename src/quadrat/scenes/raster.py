"""Images: bands by name from one file or many, on one grid, read by window."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import rasterio
import rioxarray  # noqa: F401 (gives xarray its .rio)
import xarray
from numpy.typing import NDArray
from pydantic import field_validator, model_validator
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterioWindow
from xarray.backends import BackendArray
from xarray.core import indexing

from quadrat.errors import CatalogError, ImageError
from quadrat.scenes.grid import Grid
from quadrat.section import Section
from quadrat.windows import Window, strips

TOLERANCE = 1e-3
"""Largest error of a resampled pixel's place, px of the source (GDAL's own default is 0.125)."""

ResamplingName = Literal["nearest", "bilinear", "cubic", "average"]


class Band(Section):
    """What a value of a band means: ``value × scale + offset`` is in ``unit``; ``nodata`` (raw) is no value."""

    name: str
    dtype: str
    unit: str
    scale: float
    offset: float
    nodata: float | None


class Source(Section):
    """Bands that come from alike files: one file each (``{band}`` in the path) or all from one file.

    Bands whose file has another grid than the scene's are brought to it by ``resampling``. ``nodata: null`` means
    what the file says. NaN and infinity are no values in any band.
    """

    path: str
    """The file, from the project's root; ``{band}`` stands for the name of each band."""
    bands: tuple[str, ...]
    """Names of the bands: a file each, or the file's bands from the first on."""
    resampling: ResamplingName
    """How pixels of another grid are brought to the image's."""
    unit: str
    """The unit of ``value × scale + offset``, e.g. reflectance."""
    scale: float
    """Factor from raw values to the unit."""
    offset: float
    """Summand, in the unit."""
    nodata: float | None = None
    """The raw value that is none; left out or null: what the file says."""

    @field_validator("scale")
    @classmethod
    def _check_scale(cls, scale: float) -> float:
        if not scale:
            raise ValueError("a scale of 0 makes all values one")
        return scale

    def file_of(self, band: str) -> tuple[str, int]:
        """Return the file that holds ``band`` and the band's number in it, from 1."""
        if "{band}" in self.path:
            return self.path.replace("{band}", band), 1
        return self.path, self.bands.index(band) + 1


class Image(Section):
    """An image of the catalog: its sources, and the band whose file's grid is the image's."""

    grid: str
    """The band whose file's pixels are the image's."""
    sources: tuple[Source, ...]
    """Where the bands come from."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [band for source in self.sources for band in source.bands]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"each band comes from one source, but these come from several: {', '.join(twice)}")
        if self.grid not in names:
            raise ValueError(f"grid names the band whose pixels are the image's: {self.grid} is none of {names}")
        return self

    @property
    def bands(self) -> tuple[str, ...]:
        """The names of all bands, in the order of the sources."""
        return tuple(band for source in self.sources for band in source.bands)

    def open(self, bands: Sequence[str]) -> "Raster":
        """Open ``bands``, in this order; raise ImageError for a band or file that isn't there or can't be read."""
        return Raster(self, tuple(bands))


@dataclass(frozen=True)
class Strip:
    """Pixels of a window: ``values`` (band, y, x), raw; ``valid`` (y, x), True where every band has a value."""

    window: Window
    values: NDArray[Any]
    valid: NDArray[np.bool_]


class Raster:
    """An open image: the named bands on one grid. A context manager; not shared between threads."""

    def __init__(self, image: Image, bands: tuple[str, ...]) -> None:
        """Open the files of ``bands`` and of the grid."""
        self._files = ExitStack()
        self.remarks: list[str] = []
        """What files say of themselves that the catalog says otherwise, or that isn't looked at."""
        try:
            self.grid = self._grid(image)
            self._stored_bands, self.bands = self._open(image, bands)
        except BaseException:
            self._files.close()
            raise
        self.dtype = np.result_type(*(band.dtype for band in self.bands))

    def __enter__(self) -> Self:
        """Return the open image itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close all files."""
        self._files.close()

    def read(self, window: Window) -> Strip:
        """Return the pixels of a window that lies within the grid."""
        inside = window.intersection(self.grid.area)
        if inside != window:
            raise ImageError("a read reaches over the image's edge", window=window, expected=self.grid.area)
        values = np.empty((len(self.bands), *window.shape), self.dtype)
        valid = np.ones(window.shape, np.bool_)
        area = RasterioWindow(window.col, window.row, window.width, window.height)
        for index, (band, stored) in enumerate(zip(self.bands, self._stored_bands, strict=True)):
            try:
                values[index], covered = stored.read(window=area)
            except RasterioError as error:
                raise ImageError(
                    "the image can't be read: the file is damaged or cut short",
                    file=stored.dataset.name,
                    window=window,
                    got=error,
                    mend="fetch the file again",
                ) from error
            valid &= is_valid(values[index], band) & covered
        return Strip(window, values, valid)

    def strips(self, area: Window, height: int) -> Iterator[Strip]:
        """Read ``area`` from top to bottom in strips of at most ``height`` rows, aligned to the grid."""
        for window in strips(area, height):
            yield self.read(window)

    @property
    def strip_height(self) -> int:
        """Rows of a strip that decodes each block once: the tallest block, at least 64 rows, at most 1024."""
        tallest = max(int(one.dataset.block_shapes[one.number - 1][0]) for one in self._stored_bands)
        return min(max(tallest, 64), 1024)

    def to_xarray(self) -> xarray.DataArray:
        """Return the image as a lazy array (band, y, x); pixels move when its values are asked for.

        Coordinates are pixel centres; each band's unit, scale and offset stand as coordinates along ``band``.
        """
        height, width = self.grid.shape
        transform = self.grid.transform
        coords: dict[str, Any] = {
            "band": [band.name for band in self.bands],
            "unit": ("band", [band.unit for band in self.bands]),
            "scale": ("band", [band.scale for band in self.bands]),
            "offset": ("band", [band.offset for band in self.bands]),
        }
        if transform.is_rectilinear:
            coords["x"] = transform.c + transform.a * (np.arange(width) + 0.5)
            coords["y"] = transform.f + transform.e * (np.arange(height) + 0.5)
        lazy = indexing.LazilyIndexedArray(_LazyPixels(self))
        array = xarray.DataArray(xarray.Variable(("band", "y", "x"), lazy), coords=coords)
        array = array.rio.write_transform(transform)
        placed: xarray.DataArray = array if self.grid.crs is None else array.rio.write_crs(self.grid.crs)
        return placed

    def _grid(self, image: Image) -> Grid:
        source = next(source for source in image.sources if image.grid in source.bands)
        dataset = self._dataset(source.file_of(image.grid)[0])
        return Grid(dataset.crs, dataset.transform, dataset.shape)

    def _open(self, image: Image, bands: tuple[str, ...]) -> "tuple[list[_StoredBand], tuple[Band, ...]]":
        opened: list[_StoredBand] = []
        described: list[Band] = []
        for name in bands:
            source = next((source for source in image.sources if name in source.bands), None)
            if source is None:
                raise ImageError(
                    "the image has no such band",
                    file=image.sources[0].path,
                    expected=name,
                    got=", ".join(image.bands),
                    mend="name a band that the image has under 'bands' in params.yaml, or add a source to the catalog",
                )
            path, number = source.file_of(name)
            dataset = self._dataset(path)
            if "{band}" in source.path and dataset.count > 1:
                raise ImageError(
                    "a file of one band holds more",
                    file=path,
                    expected=f"band {name} alone",
                    got=f"{dataset.count} bands",
                    mend="give the file a source of its own, without {band} in its path, that names its bands in order",
                )
            if number > dataset.count:
                raise ImageError(
                    "the file has fewer bands than the catalog names",
                    file=path,
                    expected=f"{len(source.bands)} bands: {', '.join(source.bands)}",
                    got=f"{dataset.count} bands",
                )
            dtype = np.dtype(dataset.dtypes[number - 1])
            if dtype.kind == "c":
                raise ImageError(
                    "the values are complex numbers", file=path, got=dtype, mend="take their amplitude, in a new file"
                )
            nodata = _storable(dataset.nodatavals[number - 1] if source.nodata is None else source.nodata, dtype)
            self.remarks += _remarks(dataset, number, name, source, image, path)
            opened.append(self._on_grid(dataset, number, source, nodata, path))
            described.append(
                Band(
                    name=name,
                    dtype=str(dtype),
                    unit=source.unit,
                    scale=source.scale,
                    offset=source.offset,
                    nodata=None if nodata is None or not np.isfinite(nodata) else nodata,
                )
            )
        return opened, tuple(described)

    def _dataset(self, path: str) -> Any:
        try:
            return self._files.enter_context(rasterio.open(path))
        except RasterioError as error:
            raise ImageError(
                "the image can't be opened",
                file=path,
                got=error,
                mend="check the path in the catalog; `quadrat sample` or `dvc pull` provides data that is missing",
            ) from error

    def _on_grid(self, dataset: Any, number: int, source: Source, nodata: float | None, path: str) -> "_StoredBand":
        grid = self.grid
        if (dataset.crs, dataset.transform, dataset.shape) == (grid.crs, grid.transform, grid.shape):
            return _StoredBand(dataset, number, None)
        if (dataset.crs is None) != (grid.crs is None):
            raise CatalogError(
                "files with and without a CRS can't share a grid", file=path, expected=grid.crs, got=dataset.crs
            )
        if nodata is None and np.dtype(dataset.dtypes[number - 1]).kind == "f":
            nodata = np.nan
        has_alpha = ColorInterp.alpha in dataset.colorinterp
        warped = self._files.enter_context(
            WarpedVRT(
                dataset,
                crs=grid.crs,
                src_crs=dataset.crs,
                transform=grid.transform,
                height=grid.shape[0],
                width=grid.shape[1],
                resampling=Resampling[source.resampling],
                src_nodata=nodata,
                nodata=nodata,
                add_alpha=nodata is None and not has_alpha,
                tolerance=TOLERANCE,
            )
        )
        # without a nodata value, 0 stands where the file does not reach: alpha tells it from a value
        alpha = next((n for n, kind in enumerate(warped.colorinterp, 1) if kind == ColorInterp.alpha), None)
        return _StoredBand(warped, number, alpha if nodata is None else None)


@dataclass(frozen=True)
class _StoredBand:
    """A band of an open file, on the image's grid; ``alpha`` is 0 where the file doesn't reach; None: values tell."""

    dataset: Any
    number: int
    alpha: int | None

    def read(self, **part: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return values (y, x) and where the file reaches (y, x), both of the same part.

        Raises RasterioError for a damaged file. With threads of its own, GDAL's reader of JPEG 2000 says nothing of
        it and leaves zeros (seen in 3.10): so it has none.
        """
        with rasterio.Env(GDAL_NUM_THREADS="1"):
            values: NDArray[Any] = self.dataset.read(self.number, **part)
            if self.alpha is None:
                return values, np.ones(values.shape, np.bool_)
            covered: NDArray[np.bool_] = self.dataset.read(self.alpha, **part) > 0
            return values, covered


def _remarks(dataset: Any, number: int, name: str, source: Source, image: Image, path: str) -> Iterator[str]:
    said, meant = (dataset.scales[number - 1], dataset.offsets[number - 1]), (source.scale, source.offset)
    if said not in {(1, 0), meant}:
        ours = f"{meant[0]:g} and {meant[1]:g}"
        yield f"{path} gives band {name} scale {said[0]:g} and offset {said[1]:g}, the catalog {ours}"
    called = dataset.descriptions[number - 1]
    if called != name and called in image.bands:
        yield f"{path} calls its band {number} {called}, the catalog {name}: are they in order?"
    masks = {MaskFlags.per_dataset, MaskFlags.alpha} & set(dataset.mask_flag_enums[number - 1])
    if masks:
        yield f"{path} masks pixels of band {name}, by a mask or alpha: that isn't looked at, only nodata is"


def _storable(nodata: float | None, dtype: np.dtype[Any]) -> float | None:
    """Return ``nodata`` as ``dtype`` holds it; None where no pixel can be it, so that nothing is taken for it."""
    if nodata is None:
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            held = float(dtype.type(nodata))
        return held if np.isfinite(held) == np.isfinite(nodata) else None
    held_by = np.iinfo(dtype)
    whole = np.isfinite(nodata) and nodata == int(nodata)
    return float(nodata) if whole and held_by.min <= nodata <= held_by.max else None


def is_valid(values: NDArray[Any], band: Band) -> NDArray[np.bool_]:
    """Return where ``values`` of ``band`` are neither its nodata nor NaN or infinite."""
    valid = np.ones(values.shape, np.bool_) if band.nodata is None else values != band.nodata
    return valid & np.isfinite(values) if values.dtype.kind == "f" else valid


class _LazyPixels(BackendArray):
    """What xarray indexes: reads the smallest window that holds what is asked for."""

    def __init__(self, raster: Raster) -> None:
        self._raster = raster
        self.shape = (len(raster.bands), *raster.grid.shape)
        self.dtype = raster.dtype

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # nothing in it changes, and open files can't be copied

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        basic = indexing.IndexingSupport.BASIC
        pixels: NDArray[Any] = indexing.explicit_indexing_adapter(key, self.shape, basic, self._read)
        return pixels

    def _read(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        rows, cols = (np.atleast_1d(np.arange(n)[k]) for n, k in zip(self.shape[1:], key[1:], strict=True))
        if not (rows.size and cols.size):
            return np.empty(self.shape, self.dtype)[key]
        top, left = int(rows.min()), int(cols.min())
        window = Window(top, left, int(rows.max()) + 1 - top, int(cols.max()) + 1 - left)
        picked = self._raster.read(window).values[:, rows - top][:, :, cols - left]
        singles = tuple(0 if isinstance(k, int) else slice(None) for k in key[1:])
        return picked[(key[0], *singles)]
