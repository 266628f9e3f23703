"""Files that adjoin or overlap, as one dataset: GDAL's virtual raster, written in memory, read block by block."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from affine import Affine

from quadrat.errors import ImageError
from quadrat.scenes.channel import gdal_name
from quadrat.scenes.files import Header
from quadrat.scenes.grid import Grid

SHIFT = 0.05
"""Largest distance, px, of a file's pixels from those of the others that is taken for rounding."""

Masks = Sequence[str | None]

ALL = "<ScaleOffset>255</ScaleOffset><ScaleRatio>0</ScaleRatio>"
"""Makes a mask of a band: all of it counts."""

GDAL_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "uint64": "UInt64",
    "int64": "Int64",
    "float32": "Float32",
    "float64": "Float64",
}


@dataclass(frozen=True)
class Mosaic:
    """Files on one grid, which is as large as all of them together; ``places`` are their (row, col) on it."""

    headers: tuple[Header, ...]
    grid: Grid
    places: tuple[tuple[int, int], ...]

    def virtual(self, numbers: Sequence[Sequence[int]], nodata: float | None, masks: Masks | None) -> str:
        """Return the XML of a virtual raster whose bands have these ``numbers`` in each file.

        The first file that has a value counts: one that isn't ``nodata``, where the file's mask doesn't say otherwise.
        ``masks`` are the files' mask bands (``mask,1``, or an alpha band's number; None: all of the file counts); where
        it is None itself, nodata alone says where there is nothing.
        """
        transform = ", ".join(repr(float(value)) for value in self.grid.transform.to_gdal())
        crs = "" if self.grid.crs is None else f"<SRS>{escape(self.grid.crs.to_wkt())}</SRS>"
        dtype = GDAL_TYPES[self.headers[0].dtypes[numbers[0][0] - 1]]
        tail, hidden = "", ""
        if nodata is not None:
            tail, hidden = f"<NoDataValue>{nodata!r}</NoDataValue>", f"<NODATA>{nodata!r}</NODATA>"
        uses = [("<UseMaskBand>true</UseMaskBand>" if mask else "") + hidden for mask in masks or [None] * len(self)]
        bands = [
            f'<VRTRasterBand dataType="{dtype}" band="{place}">{tail}'
            f"{self._sources([str(number) for number in each], dtype, uses)}</VRTRasterBand>"
            for place, each in enumerate(numbers, 1)
        ]
        if masks is not None:
            kept = ["<NODATA>0</NODATA>" if mask else ALL for mask in masks]
            painted = self._sources([mask or "1" for mask in masks], "Byte", kept)
            bands.append(f'<MaskBand><VRTRasterBand dataType="Byte">{painted}</VRTRasterBand></MaskBand>')
        size = f'rasterXSize="{self.grid.shape[1]}" rasterYSize="{self.grid.shape[0]}"'
        return f"<VRTDataset {size}>{crs}<GeoTransform>{transform}</GeoTransform>{''.join(bands)}</VRTDataset>"

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.headers)

    def _sources(self, bands: Sequence[str], dtype: str, uses: Sequence[str]) -> str:
        each = zip(self.headers, self.places, bands, uses, strict=True)
        return "".join(reversed([_source(*one, dtype) for one in each]))  # GDAL paints the last one on top


def _source(header: Header, place: tuple[int, int], band: str, use: str, dtype: str) -> str:
    height, width = header.grid.shape
    row, col = place
    kind = "ComplexSource" if use else "SimpleSource"
    size = f'xSize="{width}" ySize="{height}"'
    about = f'RasterXSize="{width}" RasterYSize="{height}" DataType="{dtype}"'
    block = f'BlockXSize="{header.block[1]}" BlockYSize="{header.block[0]}"'
    return (
        f'<{kind}><SourceFilename relativeToVRT="0">{escape(gdal_name(header.path))}</SourceFilename>'
        f"<SourceBand>{band}</SourceBand><SourceProperties {about} {block}/>"
        f'<SrcRect xOff="0" yOff="0" {size}/><DstRect xOff="{col}" yOff="{row}" {size}/>{use}</{kind}>'
    )


def mosaic(headers: Sequence[Header]) -> Mosaic:
    """Put files side by side; raise ImageError where they have no place, or not the same CRS and pixels."""
    first = headers[0]
    offsets = [_offset(first, other) for other in headers]
    top, left = min(row for row, _ in offsets), min(col for _, col in offsets)
    bottom = max(row + h.grid.shape[0] for (row, _), h in zip(offsets, headers, strict=True))
    right = max(col + h.grid.shape[1] for (_, col), h in zip(offsets, headers, strict=True))
    transform = first.grid.transform
    if (top, left) != (0, 0):
        transform = transform @ Affine.translation(left, top)
    grid = Grid(first.grid.crs, transform, (bottom - top, right - left))
    return Mosaic(tuple(headers), grid, tuple((row - top, col - left) for row, col in offsets))


def _offset(first: Header, other: Header) -> tuple[int, int]:
    """Return (row, col) of ``other``'s first pixel on the grid of ``first``."""
    if first is other:
        return 0, 0
    if first.grid.crs is None and first.grid.transform.is_identity:
        raise _misfit("the files of a mosaic need a place each, but the first has none", first, other)
    if first.grid.crs != other.grid.crs:
        raise _misfit("the files of a mosaic are in different CRSs", first, other)
    step = ~first.grid.transform @ other.grid.transform
    drift = max(abs(step.a - 1), abs(step.e - 1), abs(step.b), abs(step.d)) * max(other.grid.shape)
    if drift > SHIFT:
        raise _misfit("the files of a mosaic have pixels of different size or direction", first, other)
    row, col = round(step.f), round(step.c)
    if max(abs(step.f - row), abs(step.c - col)) > SHIFT:
        raise _misfit("the pixels of a mosaic's files lie between each other", first, other)
    return row, col


def _misfit(problem: str, first: Header, other: Header) -> ImageError:
    return ImageError(
        problem,
        file=other.path,
        expected=f"{_place(first.grid)} ({first.path})",
        got=_place(other.grid),
        mend="bring them to one grid (gdalwarp -t_srs … -tr … -tap), or make them images of their own",
    )


def _place(grid: Grid) -> str:
    crs = "no CRS" if grid.crs is None else grid.crs.to_string()
    t = grid.transform
    return f"{crs}, pixels ({t.a:g}, {t.b:g}, {t.d:g}, {t.e:g}) from ({t.c:.10g}, {t.f:.10g}) on"
