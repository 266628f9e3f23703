"""Mosaics: files that adjoin or overlap as one virtual raster of GDAL in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from affine import Affine

from quadrat.errors import ImageError
from quadrat.geo.files.opening import called
from quadrat.geo.files.raster_files import Header
from quadrat.geo.grids.grid import Grid

SHIFT = 0.05
"""Largest misalignment of files, px, that counts as rounding."""

Masks = Sequence[str | None]

ALL = "<ScaleOffset>255</ScaleOffset><ScaleRatio>0</ScaleRatio>"
"""VRT options for a mask where all of a file is valid."""

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
    """Files on one grid, which is as large as all of them together.

    ``places`` are each file's positions (row, col) on it; a file has several only on grids around the Earth.
    """

    headers: tuple[Header, ...]
    grid: Grid
    places: tuple[tuple[tuple[int, int], ...], ...]

    def virtual(
        self, numbers: Sequence[Sequence[int]], nodata: float | None, masks: Masks | None, *, masked: bool = False
    ) -> str:
        """Return the XML of a virtual raster whose bands have these ``numbers`` in each file.

        The first file with a value (not ``nodata`` and not masked) is used; pixels without a value are ``nodata``.
        ``masks`` are the files' mask bands (``mask,1``, or an alpha band's number; None: all of the file is valid).
        Without ``nodata``, the raster has a mask made of these, unless ``masks`` is None. With ``masked``, it has a
        mask instead of nodata, which is True where the first band is neither ``nodata`` nor masked, NaN or infinite.
        """
        transform = ", ".join(repr(float(value)) for value in self.grid.transform.to_gdal())
        crs = "" if self.grid.crs is None else f"<SRS>{escape(self.grid.crs.to_wkt())}</SRS>"
        dtype = GDAL_TYPES[self.headers[0].dtypes[numbers[0][0] - 1]]
        each_mask = masks or [None] * len(self)
        parts = [
            _part(header, mask, own, nodata, dtype)
            for header, mask, own in zip(self.headers, each_mask, zip(*numbers, strict=True), strict=True)
        ]
        hidden = "" if nodata is None else f"<NODATA>{nodata!r}</NODATA>"
        uses = [hidden or ("<UseMaskBand>true</UseMaskBand>" if mask else "") for mask in each_mask]
        below = [""] if masked and not self.several else uses  # the lowest file needs no mask
        painted = [
            self._sources([(file, str(own[place])) for file, own in parts], dtype, below)
            for place in range(len(numbers))
        ]
        mask = ""
        if masked and nodata is not None:
            mask = self._sources([(file, str(own[0])) for file, own in parts], dtype, [hidden + ALL] * len(self))
        elif nodata is None and masks is not None:
            kept = ["<NODATA>0</NODATA>" if mask else ALL for mask in masks]
            mask = self._sources(
                [(file, mask or "1") for (file, _), mask in zip(parts, masks, strict=True)], "Byte", kept
            )
        tail = "" if nodata is None or masked else f"<NoDataValue>{nodata!r}</NoDataValue>"
        bands = [_band(dtype, tail + sources) for sources in painted]
        if mask:
            bands.append(f"<MaskBand>{_band('Byte', mask)}</MaskBand>")
        return _virtual(self.grid.shape, bands, f"{crs}<GeoTransform>{transform}</GeoTransform>")

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.headers)

    @property
    def several(self) -> bool:
        """Whether there is more than one file, or a file at several places."""
        return len(self) > 1 or len(self.places[0]) > 1

    def _sources(self, bands: Sequence[tuple[str, str]], dtype: str, uses: Sequence[str]) -> str:
        each = zip(self.headers, self.places, bands, uses, strict=True)
        placed = [_source(header, place, band, use, dtype) for header, some, band, use in each for place in some]
        return "".join(reversed(placed))  # GDAL paints the last one on top


def _part(
    header: Header, mask: str | None, numbers: Sequence[int], nodata: float | None, dtype: str
) -> tuple[str, Sequence[int]]:
    """Return the path that GDAL opens for a file, and the numbers of the bands in it.

    GDAL uses only one of nodata, mask and alpha; virtual rasters combine several into one.
    """
    file = called(header.path)
    if mask is None:
        return file, numbers
    everywhere = (0, 0)
    if mask.isdigit() and not _heeded(header, int(mask)):
        all_bands = [
            _band(GDAL_TYPES.get(dtype, "Float64"), _source(header, everywhere, (file, str(number)), "", dtype))
            for number, dtype in enumerate(header.dtypes, 1)
        ]
        alpha = _band("Byte", _source(header, everywhere, (file, mask), "", "Byte"))
        file = _virtual(header.grid.shape, [*all_bands, f"<MaskBand>{alpha}</MaskBand>"])
    if nodata is None:
        return file, numbers
    use = "<UseMaskBand>true</UseMaskBand>"
    blank = f"<NoDataValue>{nodata!r}</NoDataValue>"
    bands = [_band(dtype, blank + _source(header, everywhere, (file, str(number)), use, dtype)) for number in numbers]
    return _virtual(header.grid.shape, bands), range(1, len(numbers) + 1)


def _heeded(header: Header, alpha: int) -> bool:
    """Return whether GDAL itself uses the alpha band as mask: only if it has bytes and there is no nodata value."""
    return header.dtypes[alpha - 1] == "uint8" and all(value is None for value in header.nodata)


def _virtual(shape: tuple[int, int], bands: Sequence[str], place: str = "") -> str:
    return f'<VRTDataset rasterXSize="{shape[1]}" rasterYSize="{shape[0]}">{place}{"".join(bands)}</VRTDataset>'


def _band(dtype: str, content: str) -> str:
    return f'<VRTRasterBand dataType="{dtype}">{content}</VRTRasterBand>'


def _source(header: Header, place: tuple[int, int], band: tuple[str, str], use: str, dtype: str) -> str:
    """Return the XML of a file's band (path, number) at ``place`` (row, col)."""
    height, width = header.grid.shape
    row, col = place
    kind = "ComplexSource" if use else "SimpleSource"
    size = f'xSize="{width}" ySize="{height}"'
    about = f'RasterXSize="{width}" RasterYSize="{height}" DataType="{dtype}"'
    block = f'BlockXSize="{header.block[1]}" BlockYSize="{header.block[0]}"'
    return (
        f'<{kind}><SourceFilename relativeToVRT="0">{escape(band[0])}</SourceFilename>'
        f"<SourceBand>{band[1]}</SourceBand><SourceProperties {about} {block}/>"
        f'<SrcRect xOff="0" yOff="0" {size}/><DstRect xOff="{col}" yOff="{row}" {size}/>{use}</{kind}>'
    )


def mosaic(headers: Sequence[Header]) -> Mosaic:
    """Return the mosaic of files; raise ImageError if they have no georeference, or different CRSs or pixels."""
    first = headers[0]
    offsets = [_offset(first, other) for other in headers]
    top, left = min(row for row, _ in offsets), min(col for _, col in offsets)
    bottom = max(row + h.grid.shape[0] for (row, _), h in zip(offsets, headers, strict=True))
    right = max(col + h.grid.shape[1] for (_, col), h in zip(offsets, headers, strict=True))
    transform = first.grid.transform
    if (top, left) != (0, 0):
        transform = transform @ Affine.translation(left, top)
    grid = Grid(first.grid.crs, transform, (bottom - top, right - left))
    return Mosaic(tuple(headers), grid, tuple(((row - top, col - left),) for row, col in offsets))


def _offset(first: Header, other: Header) -> tuple[int, int]:
    """Return (row, col) of ``other``'s first pixel on the grid of ``first``."""
    if first is other:
        return 0, 0
    if first.grid.crs is None and first.grid.transform.is_identity:
        raise _misfit("the files of a mosaic need georeferences, but the first has none", first, other)
    if first.grid.crs != other.grid.crs:
        raise _misfit("the files of a mosaic are in different CRSs", first, other)
    step = ~first.grid.transform @ other.grid.transform
    drift = max(abs(step.a - 1), abs(step.e - 1), abs(step.b), abs(step.d)) * max(other.grid.shape)
    if drift > SHIFT:
        raise _misfit("the files of a mosaic have pixels of different size or direction", first, other)
    row, col = round(step.f), round(step.c)
    if max(abs(step.f - row), abs(step.c - col)) > SHIFT:
        raise _misfit("the pixels of a mosaic's files are not aligned", first, other)
    return row, col


def _misfit(problem: str, first: Header, other: Header) -> ImageError:
    return ImageError(
        problem,
        file=other.path,
        expected=f"{_place(first.grid)} ({first.path})",
        got=_place(other.grid),
        hint="warp them to one grid (gdalwarp -t_srs … -tr … -tap), or make them separate images",
    )


def _place(grid: Grid) -> str:
    crs = "no CRS" if grid.crs is None else grid.crs.to_string()
    t = grid.transform
    return f"{crs}, pixels ({t.a:g}, {t.b:g}, {t.d:g}, {t.e:g}) from ({t.c:.10g}, {t.f:.10g}) on"
