"""Stored bands of a raster file, and their valid pixels by nodata, masks and alpha."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window as RasterioWindow

from quadrat.geo.files.raster_files import is_mask, nodata_of
from quadrat.geo.grids.windows import Window

Number = int | float


@dataclass(frozen=True)
class Stored:
    """Bands of an open dataset, with nodata, masks and alpha, which each hide pixels."""

    dataset: Any
    bands: tuple[int, ...]
    """Their numbers, from 1."""
    nodata: tuple[Number | None, ...]
    """One per band. A pixel has no value only if all bands are nodata: (0, 0, 0) may be nodata where red 0 is not."""
    masks: tuple[int, ...]
    """The bands whose masks are used; a mask of the whole file is listed once."""
    alpha: int | None
    """The number of the alpha band; None if there is none, or it is one of ``bands``."""

    @classmethod
    def of(cls, dataset: Any, bands: tuple[int, ...]) -> Self:
        """Return ``bands`` of a dataset, with their nodata, masks and alpha."""
        flags = {band: set(dataset.mask_flag_enums[band - 1]) for band in bands}
        masks = [band for band in bands if is_mask(flags[band])]
        shared = any(MaskFlags.per_dataset in flags[band] for band in masks)
        colors, nodata = dataset.colorinterp, nodata_of(dataset)
        alpha = colors.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in colors else None
        return cls(
            dataset,
            bands,
            tuple(_whole(nodata[band - 1], dataset.dtypes[band - 1]) for band in bands),
            tuple(masks[:1] if shared else masks),
            None if alpha in bands else alpha,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""
        height, width = self.dataset.shape
        return height, width

    @property
    def dtype(self) -> np.dtype[Any]:
        """The data type of the first band."""
        name: str = self.dataset.dtypes[self.bands[0] - 1]
        return np.dtype(name)

    @property
    def masked(self) -> bool:
        """Whether a mask or alpha hides pixels."""
        return bool(self.masks) or self.alpha is not None

    def values(self, window: Window, into: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return (band, y, x) of a window within the file, in a given array or a new one."""
        found: NDArray[Any] = self.dataset.read(list(self.bands), window=_area(window), out=into)
        return found

    def mask(self, window: Window) -> NDArray[np.bool_] | None:
        """Return (y, x), False where a mask or the alpha band hides the pixel; None if there is neither."""
        if not self.masked:
            return None
        shown = np.ones(window.shape, np.bool_)
        for band in self.masks:
            shown &= self.dataset.read_masks(band, window=_area(window)) != 0
        if self.alpha is not None:
            shown &= self.dataset.read(self.alpha, window=_area(window)) != 0
        return shown

    def given(self, values: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return where ``values`` (band, …) are not nodata (…); None if no value is nodata."""
        if any(number is None for number in self.nodata):
            return None
        some: NDArray[np.bool_] = values[0] != self.nodata[0]
        for band, number in zip(values[1:], self.nodata[1:], strict=True):
            some = some | (band != number)
        return some


def _whole(number: Number | None, dtype: str) -> Number | None:
    """Return the nodata value as an int for integer types: a comparison with a float would round them."""
    return number if number is None or np.dtype(dtype).kind not in "iu" else int(number)


def _area(window: Window) -> Any:
    return RasterioWindow(window.col, window.row, window.width, window.height)
