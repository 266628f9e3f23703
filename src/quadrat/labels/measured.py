"""Labels that are values themselves, such as heights: a raster's numbers on a scene's grid."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window

if TYPE_CHECKING:
    from quadrat.labels.raster_values import Pixels


class MeasuredPixels:
    """A raster's values on a scene's grid. Not shared between threads."""

    box_remarks: tuple[str, ...] = ()
    background = IGNORE

    def __init__(self, pixels: "Pixels", band: int) -> None:
        """Read ``band``, with the scale and offset that the file states for it."""
        self._pixels = pixels
        self._form, self._scale, self._offset = pixels.numbers(band)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Possible problems of the file."""
        return self._pixels.doubt()

    def values(self, window: Window) -> NDArray[np.float32]:
        """Return (y, x) values, NaN where there is none; the window may reach beyond the grid."""
        values = np.full(window.shape, np.nan, np.float32)
        inside = window.intersection(self._pixels.grid.area)
        if inside is None:
            return values
        within = values[inside.slices(window)]
        for part, numbers, labelled in self._pixels.read(inside, self._form):
            with np.errstate(over="ignore"):  # values too large for float32 become infinite, which means no value
                found = (numbers * self._scale + self._offset).astype(np.float32)
            np.copyto(within[part], found, where=labelled & np.isfinite(found))
        return values

    def class_ids(self, window: Window, *, all_touched: bool) -> NDArray[np.uint8]:  # noqa: ARG002 (for polygons only)
        """Return (y, x) 0, the only id, or IGNORE where there is no value."""
        return np.where(np.isnan(self.values(window)), IGNORE, 0).astype(np.uint8)

    def objects(self, window: Window) -> None:
        """Return None, because pixels are not objects."""
