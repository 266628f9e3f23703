"""Raster layers as cloud-optimised GeoTIFFs."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # raised by copying, and not in rasterio.errors
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterioWindow

from quadrat.errors import QuadratError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import strips
from quadrat.prediction.class_table import pam, place_for_table, put_table
from quadrat.prediction.overviews import Overviews
from quadrat.prediction.qgis_style import raster_style
from quadrat.prediction.writers import style_of
from quadrat.runtime.files import replaced
from quadrat.runtime.parallel import cores
from quadrat.tasks.common.outputs import RasterLayer, Rows

BLOCK = 512
"""Height and width of a block, px."""

TEMPORARY = {
    "tiled": True,
    "blockxsize": BLOCK,
    "blockysize": BLOCK,
    "interleave": "band",
    "sparse_ok": True,
    "bigtiff": "IF_SAFER",
}
"""Options of the temporary files from which a COG is made."""

TROUBLE = (RasterioError, CPLE_BaseError, SystemError)
"""Errors of rasterio for files that can't be written; the last is raised if GDAL gives no reason."""

PACKED = {"compress": "PACKBITS"}
"""Class ids come in runs, for which packbits takes a third of the time of deflate."""


QUICK = {"LEVEL": 1, "PREDICTOR": "NO", "OVERVIEWS": "NONE"}
"""Of probabilities, such a file takes a fifteenth of the time, and has about the size of one with overviews."""


class RasterWriter:
    """Writes a raster layer to ``path``, completely or not at all; a context manager.

    Rows go to a temporary tiled file beside ``path``, overviews of class ids to others. Without an error, they become
    a COG, which is read back and then renamed. Pixels that are never written are nodata. The same pixels give the same
    bytes, however they are cut into ``Rows``. All transforms are kept, also south-up and rotated ones. Classes are
    written to the colour table, to the first band's tags ``class_<id>`` and its raster attribute table, to
    ``<path>.aux.xml`` as category names and table, and to a file ``.qml`` as the style for QGIS.
    """

    def __init__(self, layer: RasterLayer, grid: Grid, path: Path, tags: Mapping[str, str]) -> None:
        """Write ``layer`` on ``grid``; ``tags`` become the file's metadata."""
        self._layer, self._grid, self._path, self._tags = layer, grid, path, {**tags, **layer.about}
        self._rows = path.with_name(f".rows-{path.name}")
        self._sum = _Sum.none(len(layer.bands))
        self._due: tuple[int, int, int] | None = None  # row, col and width of the next rows
        self._overviews: Overviews | None = None
        self._steps = ExitStack()

    def __enter__(self) -> Self:
        """Open the temporary files."""
        with self._errors_named(), ExitStack() as steps:
            self._part = steps.enter_context(replaced(self._path))
            self._clear()  # GDAL would use old overviews there
            steps.callback(self._clear)
            steps.push(self._finish)
            self._dataset = steps.enter_context(self._open())
            if self._layer.classes is not None:
                made = Overviews(self._rows, self._grid.shape, int(self._layer.nodata), BLOCK, TEMPORARY | PACKED)
                self._overviews = steps.enter_context(made)
            self._steps = steps.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file; after an exception, delete it."""
        with self._errors_named():
            self._steps.__exit__(kind, error, trace)

    def write(self, rows: Rows) -> None:
        """Write ``rows``, the next ones from top to bottom, with the same columns."""
        count, height, width = rows.values.shape
        if rows.values.dtype != self._layer.dtype or count != len(self._layer.bands):
            raise ValueError(f"{self._layer} can't hold {count} bands of {rows.values.dtype}")
        if self._due not in (None, (rows.row, rows.col, width)):
            raise ValueError(
                f"rows come from top to bottom, without gaps: expected {self._due}, got {rows.row, rows.col, width}"
            )
        self._due = rows.row + height, rows.col, width
        with self._errors_named():
            self._dataset.write(rows.values, window=RasterioWindow(rows.col, rows.row, width, height))
            if self._overviews is not None:
                self._overviews.add(rows.row, rows.col, rows.values[0])
        self._sum += _Sum.of(rows.values, self._layer.nodata)

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Raise PredictionError or DiskError instead of errors of GDAL and rasterio."""
        try:
            yield
        except TROUBLE as cause:
            raise self._failure(cause) from cause

    def _clear(self) -> None:
        for path in self._rows.parent.glob(f"{escape(self._rows.name)}*"):
            path.unlink()

    def _open(self) -> Any:
        grid, layer = self._grid, self._layer
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a scene may have no CRS
            dataset = rasterio.open(
                self._rows,
                "w",
                driver="GTiff",
                height=grid.shape[0],
                width=grid.shape[1],
                count=len(layer.bands),
                dtype=layer.dtype,
                nodata=layer.nodata,
                crs=grid.crs,
                transform=None if grid.transform == Affine.identity() else grid.transform,
                **TEMPORARY,
                **self._temporary,
            )
        dataset.update_tags(**self._tags)
        dataset.descriptions = layer.bands
        if layer.scale != 1:
            dataset.scales = [layer.scale] * len(layer.bands)
        if layer.classes is not None:
            colors = {number: (*c.rgb, 255) for number, c in enumerate(layer.classes)}
            dataset.write_colormap(1, {**colors, int(layer.nodata): (0, 0, 0, 0)})
            names = {f"class_{number}": c.name for number, c in enumerate(layer.classes)}
            dataset.update_tags(1, **names, **place_for_table(layer.classes))
        return dataset

    def _finish(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="FALSE"):  # else GDAL does not find overviews beside a file
            rasterio.shutil.copy(
                self._rows,
                self._part,
                driver="COG",
                BLOCKSIZE=BLOCK,
                COMPRESS="DEFLATE",
                **self._options,
                BIGTIFF="IF_SAFER",
                NUM_THREADS=cores(),
            )
        if self._layer.classes is not None:
            put_table(self._part, self._layer.classes)
        found = self._read_back()
        if found != self._sum:
            raise self._failure(found)
        own = self._path.name
        names, style = (self._path.with_name(name) for name in (f"{own}.aux.xml", style_of(own)))
        for beside in (names, style):
            beside.unlink(missing_ok=True)
        if self._layer.classes is not None:
            for beside, text in ((names, pam(self._layer.classes)), (style, raster_style(self._layer.classes))):
                with replaced(beside) as part:
                    part.write_text(text, encoding="utf-8")

    @property
    def _temporary(self) -> Mapping[str, Any]:
        """How the rows are compressed until they are a COG."""
        if self._layer.quick:
            return {}
        return {"compress": "DEFLATE", "zlevel": 1} if self._layer.classes is None else PACKED

    @property
    def _options(self) -> Mapping[str, Any]:
        """How the COG is compressed, and what its overviews are."""
        if self._layer.quick:
            return QUICK
        if self._layer.classes is None:
            return {"PREDICTOR": "YES", "OVERVIEW_RESAMPLING": "AVERAGE"}
        return {"PREDICTOR": "NO", "OVERVIEWS": "FORCE_USE_EXISTING"}  # differences of class ids have no meaning

    def _read_back(self) -> "_Sum":
        total = _Sum.none(len(self._layer.bands))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(self._part)
        with dataset:
            levels = dataset.overviews(1)
            lacking = max(dataset.shape) > BLOCK and not levels and not self._layer.quick
            if lacking or (self._overviews and len(levels) != self._overviews.count):
                raise self._failure(f"a file with overviews {levels}")
            for window in strips(self._grid.area, BLOCK):
                values = dataset.read(window=RasterioWindow(0, window.row, window.width, window.height))
                total += _Sum.of(values, self._layer.nodata)
        return total

    def _failure(self, got: object) -> QuadratError:
        return QuadratError(
            f"the layer {self._layer.name} could not be written completely",
            file=self._path,
            expected=self._sum,
            got=got,
            hint="check that the disk has room, and run again",
        )


@dataclass(frozen=True)
class _Sum:
    """A checksum of a raster: per band, the number of valid pixels and the sum of their bytes."""

    pixels: tuple[int, ...]
    bytes: tuple[int, ...]

    @classmethod
    def none(cls, bands: int) -> Self:
        return cls((0,) * bands, (0,) * bands)

    @classmethod
    def of(cls, values: NDArray[Any], nodata: float) -> Self:
        """Sum up ``values`` (band, y, x)."""
        unknown = np.isnan(nodata)
        missing = [int(np.count_nonzero(np.isnan(band) if unknown else band == nodata)) for band in values]
        raw = np.ascontiguousarray(values).view(np.uint8)
        few = (raw[:, row : row + 256] for row in range(0, raw.shape[1], 256))  # 256 bytes' sum fits 16 bits
        total = sum(np.add.reduce(rows, axis=1, dtype=np.uint16).sum(-1, dtype=np.int64) for rows in few)
        nothing = sum(values.dtype.type(nodata).tobytes())
        pixels = tuple(values[0].size - count for count in missing)
        return cls(pixels, tuple((total - nothing * np.array(missing)).tolist()))

    def __add__(self, other: "_Sum") -> "_Sum":
        pixels = tuple(a + b for a, b in zip(self.pixels, other.pixels, strict=True))
        return _Sum(pixels, tuple(a + b for a, b in zip(self.bytes, other.bytes, strict=True)))
