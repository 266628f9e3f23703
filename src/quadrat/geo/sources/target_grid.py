"""The grid that an image is brought to: another CRS, another size of pixels."""

import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from quadrat.errors import ImageError
from quadrat.geo.grids.resampling import ResamplingName
from quadrat.runtime.formats.section import Section

if TYPE_CHECKING:
    from quadrat.geo.grids.grid import Grid

ROUNDING = 0.01
"""Px by which the image may reach over the last row or column without another being added."""

FINEST = 64
"""Most pixels per pixel of the files, in one direction: more are meant in another unit."""


PIECES, TORN = 400, 50
"""Parts of an image's outline, and how much longer than others one is where a CRS's edge lies between its ends."""


class TargetGrid(Section):
    """A CRS and a size of pixels to which all bands are brought while they are read; no file is written.

    The upper left corner stays, as that of the image's outline in the CRS; north is up, and the grid holds the whole.
    Vector labels and areas of interest are drawn on it; of raster labels, a pixel has the class at its centre.
    """

    band: str = ""
    """The band whose file says where the grid lies, as ``grid`` does without a target; left out: the first band of
    the first source."""
    crs: str | None = None
    """The CRS, e.g. EPSG:32633; left out: that of the files."""
    resolution: float | None = Field(default=None, gt=0)
    """Side of a pixel in units of the CRS, m or degrees; left out: that which keeps the files' number of pixels."""
    resampling: ResamplingName
    """The resampling of sources that say none. ``average`` is the mean of the pixels that a coarser one covers;
    ``bilinear`` and ``cubic`` weigh them."""

    @field_validator("crs")
    @classmethod
    def _check_crs(cls, crs: str | None) -> str | None:
        from rasterio.crs import CRS
        from rasterio.errors import CRSError

        try:
            return crs if crs is None or CRS.from_user_input(crs) else None
        except CRSError as error:
            raise ValueError(f"'{crs}' is no CRS: {error}") from error

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.crs is None and self.resolution is None:
            raise ValueError("a grid to bring images to needs a 'crs', a 'resolution', or both")
        return self

    def around(self, own: "Grid", file: str) -> "Grid":
        """Return the grid that holds all of ``own``, the grid of ``file``; raise ImageError if there is none."""
        from affine import Affine

        from quadrat.geo.grids.grid import Grid

        crs = self._crs(own, file)
        left, bottom, right, top = self._bounds(own, crs, file)
        side = self.resolution or _kept(own, crs)
        height, width = (max(1, math.ceil(reach / side - ROUNDING)) for reach in (top - bottom, right - left))
        shape = height, width
        self._check_size(shape, own, (right - left, top - bottom), file)
        down = own.crs is None and own.transform.e > 0  # rows of photos count downwards
        transform = Affine(side, 0, left, 0, side if down else -side, bottom if down else top)
        return Grid(crs, transform, shape)

    def _crs(self, own: "Grid", file: str) -> Any:
        from rasterio.crs import CRS

        if self.crs is None:
            return own.crs
        if not own.on_earth:
            raise ImageError(
                "an image without a CRS that has a place on Earth can't be brought to another",
                file=file,
                expected=self.crs,
                got=own.crs or "no CRS",
                hint="give the file its CRS (gdal_edit.py -a_srs …), or leave 'crs' out of 'grid' in the catalog",
            )
        crs = CRS.from_user_input(self.crs)
        return own.crs if crs == own.crs else crs

    def _bounds(self, own: "Grid", crs: Any, file: str) -> tuple[float, float, float, float]:
        """Return left, bottom, right and top of the image in ``crs``; raise ImageError if its outline is torn there."""
        from rasterio.warp import transform

        outline = own.footprint(own.area).exterior
        if crs == own.crs:
            left, bottom, right, top = outline.bounds
            return left, bottom, right, top
        x, y = np.array(transform(own.crs, crs, *np.array(outline.segmentize(outline.length / PIECES).coords).T))
        steps = np.hypot(np.diff(x), np.diff(y))
        if not np.isfinite(steps).all() or steps.max() > TORN * np.median(steps):
            raise ImageError(
                "the image reaches beyond what the CRS of 'grid' in the catalog can show, or over its edge",
                file=file,
                expected=self.crs,
                got=f"pixels within {outline.bounds} ({own.crs})",
                hint="choose a CRS for the image's part of the Earth, such as its UTM zone",
            )
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def _check_size(self, shape: tuple[int, int], own: "Grid", extent: tuple[float, float], file: str) -> None:
        """Raise ImageError for pixels that are larger than the image, or far smaller than its own."""
        most = FINEST * max(own.shape)
        if self.resolution is None or (self.resolution <= min(extent) and max(shape) <= most):
            return
        raise ImageError(
            "the resolution of 'grid' in the catalog makes too few or too many pixels of the image",
            file=file,
            expected=f"pixels smaller than the image, {extent[0]:g} × {extent[1]:g} units of the CRS, and at most "
            f"{most} of them side by side",
            got=f"a resolution of {self.resolution:g}",
            hint="it is in units of the CRS: m, or degrees",
        )


def _kept(own: "Grid", crs: Any) -> float:
    """Return the side of a pixel for which the diagonal of the image has as many pixels as its own."""
    from rasterio.warp import calculate_default_transform

    height, width = own.shape
    left, bottom, right, top = own.footprint(own.area).bounds
    if not own.transform.is_rectilinear:  # what is turned lies within more pixels of its size
        side = math.sqrt(abs(own.transform.determinant))
        height, width = (max(1, round(reach / side)) for reach in (top - bottom, right - left))
    transform, _, _ = calculate_default_transform(own.crs, crs, width, height, left, bottom, right, top)
    return float(transform.a)
