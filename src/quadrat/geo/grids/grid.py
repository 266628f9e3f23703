"""A grid of pixels on the ground."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from quadrat.geo.grids.windows import Window, whole

if TYPE_CHECKING:
    from affine import Affine
    from pyproj import CRS
    from rasterio.crs import CRS as RasterioCRS

SHIFT = 1e-3
"""Largest distance, px, between corners of grids that count as equal."""

CROSS = np.array([[0, 0], [0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]])
"""A pixel's centre, and the middles of its right, left, lower and upper edges: (column, row) from the centre."""

Floats = NDArray[np.float64]


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
        """Ground sample distance in m (in px where there is no CRS) at the grid's centre; see ``gsd_of``."""
        return self.gsd_of(self.area)

    def gsd_of(self, area: Window) -> float:
        """Return the square root of the ground area of a pixel at the centre of ``area``, in m; 1 without a CRS.

        If the centre is not on Earth, the pixel is measured in the CRS's plane.
        """
        (size,) = self.pixel_areas(np.array([[area.col + area.width / 2, area.row + area.height / 2]]))
        return math.sqrt(size if math.isfinite(size) else abs(np.linalg.det(self.plane)))

    @property
    def on_earth(self) -> bool:
        """Whether the grid has a CRS with a place on Earth, not a local one."""
        return self.crs is not None and _earth(self.crs) is not None

    @property
    def plane(self) -> Floats:
        """(2, 2): metres per column and per row in the CRS's own plane; px without a CRS."""
        if self.crs is None:
            return np.eye(2)
        axes = system_of(self.crs).axis_info
        matrix = np.array([[self.transform.a, self.transform.b], [self.transform.d, self.transform.e]])
        return matrix * (axes[0].unit_conversion_factor if axes else 1.0)

    def pixel_areas(self, places: Floats) -> Floats:
        """Return the area (place,) of a pixel on the ground at ``places`` (column, row), in m²; see ``metres``."""
        (a, b), (c, d) = self.metres(places).transpose(1, 2, 0)
        found: Floats = np.abs(a * d - b * c)
        return found

    def metres(self, places: Floats) -> Floats:
        """Return (place, 2, 2): metres on the ground to the east and to the north per column and per row.

        They are measured on the ellipsoid at ``places`` (column, row) for any CRS; NaN for a place that is not on
        Earth. In a local CRS they are measured in its plane; without a CRS they are px.
        """
        earth = None if self.crs is None else _earth(self.crs)
        if earth is None:
            return np.broadcast_to(self.plane, (len(places), 2, 2))
        cols, rows = (places + CROSS[:, None]).transpose(2, 0, 1)  # (point of the cross, place)
        a, b, c, d, e, f = tuple(self.transform)[:6]
        longitude, latitude = earth.angles(a * cols + b * rows + c, d * cols + e * rows + f)
        # chords; they equal the arcs to 1e-12
        x, y, z = (axis[1::2] - axis[2::2] for axis in earth.points(longitude, latitude))
        longitude, latitude = longitude[0], latitude[0]
        east = np.cos(longitude) * y - np.sin(longitude) * x  # (step, place)
        north = np.cos(latitude) * z - np.sin(latitude) * (np.cos(longitude) * x + np.sin(longitude) * y)
        return np.stack([east, north]).transpose(2, 0, 1)

    def shift(self, other: "Grid") -> float:
        """Return the largest distance between corners of both grids, px of the other, for any CRSs."""
        height, width = other.shape
        into = ~other.transform @ self.transform
        corners = [(0, 0), (width, 0), (0, height), (width, height)]
        return max(math.dist(into @ corner, corner) for corner in corners)

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


def system_of(crs: Any) -> "CRS":
    """Return a CRS of any library as pyproj's; it is made once, because that takes a millisecond."""
    from pyproj import CRS

    return crs if isinstance(crs, CRS) else _system(crs)


@lru_cache(1024)
def _system(crs: Any) -> "CRS":
    from pyproj import CRS

    return CRS.from_user_input(crs)


@dataclass(frozen=True)
class Earth:
    """The ellipsoid of a CRS, and the transformation to it."""

    transform: Callable[[Floats, Floats], tuple[Floats, Floats]]
    """From the CRS to longitude and latitude."""
    unit: float
    """Radians per unit of longitude and latitude, which may be grads."""
    axes: tuple[float, float]
    """Semi-major and semi-minor axis, m."""

    def angles(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return longitudes and latitudes of points in radians; NaN where a point is not on Earth."""
        longitude, latitude = (np.where(np.isfinite(v), v, np.nan) * self.unit for v in self.transform(x, y))
        return longitude, latitude

    def points(self, longitude: Floats, latitude: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the geocentric coordinates of points of the ellipsoid, m."""
        major, minor = self.axes
        flat = (minor / major) ** 2
        radius = major / np.sqrt(np.cos(latitude) ** 2 + flat * np.sin(latitude) ** 2)
        across = radius * np.cos(latitude)
        return across * np.cos(longitude), across * np.sin(longitude), flat * radius * np.sin(latitude)


@lru_cache
def _earth(crs: "RasterioCRS") -> Earth | None:
    """Return the ellipsoid of a CRS; None for a local CRS, or if there is no transformation to the ellipsoid."""
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    own = system_of(crs)
    geodetic = own.geodetic_crs
    if geodetic is not None and geodetic.is_derived:  # such as one with a rotated pole
        geodetic = geodetic.source_crs
    if geodetic is None or geodetic.ellipsoid is None:
        return None
    try:
        transformer = Transformer.from_crs(own, geodetic, always_xy=True)
    except ProjError:
        return None
    ellipsoid = geodetic.ellipsoid
    unit = geodetic.axis_info[0].unit_conversion_factor
    return Earth(transformer.transform, unit, (ellipsoid.semi_major_metre, ellipsoid.semi_minor_metre))
