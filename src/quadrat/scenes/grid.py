"""A grid of pixels on the ground."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from quadrat.windows import Window, whole

if TYPE_CHECKING:
    from affine import Affine
    from rasterio.crs import CRS as RasterioCRS

SHIFT = 1e-3
"""Largest distance, in px, between corners of grids that are one: rounding, no more."""


@dataclass(frozen=True)
class Grid:
    """CRS (None: pixel coordinates), transform from (col, row) to map coordinates, and (height, width) in px.

    Pixel (row, col) covers [col, col + 1) × [row, row + 1) before the transform: corners, not centres.
    """

    crs: "RasterioCRS | None"
    transform: "Affine"
    shape: tuple[int, int]

    @property
    def area(self) -> Window:
        """The window of the whole grid."""
        return whole(self.shape)

    @property
    def gsd(self) -> float:
        """Ground sample distance in m (in px where there is no CRS): the root of a pixel's area at the centre."""
        from pyproj import CRS

        side = math.sqrt(abs(self.transform.determinant))
        if self.crs is None:
            return 1.0
        if self.crs.is_geographic:
            _, latitude = self.transform @ (self.shape[1] / 2, self.shape[0] / 2)
            globe = CRS.from_user_input(self.crs).get_geod()
            radius = 6_378_137.0 if globe is None else globe.a
            return side * math.radians(1) * radius * math.sqrt(math.cos(math.radians(latitude)))
        axes = CRS.from_user_input(self.crs).axis_info
        return side * (axes[0].unit_conversion_factor if axes else 1.0)  # a local CRS isn't projected, but in metres

    @property
    def on_earth(self) -> bool:
        """Whether its CRS has longitudes and latitudes: not so without one, or in a local one."""
        from pyproj import CRS

        return self.crs is not None and CRS.from_user_input(self.crs).geodetic_crs is not None

    def shift(self, other: "Grid") -> float:
        """Return how far a corner of this grid lies from the other's, in px of the other, whatever the CRSs are."""
        height, width = other.shape
        into = ~other.transform @ self.transform
        corners = [(0, 0), (width, 0), (0, height), (width, height)]
        return max(math.dist(into @ corner, corner) for corner in corners)

    def window_transform(self, window: Window) -> "Affine":
        """Return the transform of a window's own pixels."""
        from affine import Affine

        return self.transform @ Affine.translation(window.col, window.row)

    def footprint(self, window: Window) -> Polygon:
        """Return the window's outline in map coordinates."""
        outline: Polygon = self.footprints(np.array([[window.row, window.col, *window.shape]]))[0]
        return outline

    def footprints(self, windows: NDArray[np.int64]) -> NDArray[np.object_]:
        """Return the outlines of windows (n, 4), each row, col, height and width, in map coordinates."""
        row, col, height, width = windows.T
        cols, rows = (
            np.stack([col, col + width, col + width, col], 1),
            np.stack([row, row, row + height, row + height], 1),
        )
        a, b, c, d, e, f = tuple(self.transform)[:6]
        outlines: Any = shapely.polygons(np.stack([cols * a + rows * b + c, cols * d + rows * e + f], -1))
        return np.asarray(outlines, object)
