"""Polygons burnt into windows: the value of the last polygon that covers a pixel."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.geo.geometry.parts import Geometries
from quadrat.geo.grids.windows import Window


@dataclass(frozen=True)
class Areas:
    """Polygons in pixel coordinates of a grid (x = column, y = row), in drawing order, with the value of each."""

    geometry: Geometries
    values: NDArray[np.uint8]

    def __post_init__(self) -> None:
        """Index the polygons."""
        object.__setattr__(self, "_tree", shapely.STRtree(self.geometry))

    def contested(self) -> int:
        """Return how many pairs of polygons with different values share more than a pixel's area."""
        tree: shapely.STRtree = self._tree  # type: ignore[attr-defined]
        one, other = tree.query(self.geometry, predicate="intersects")
        unlike = (one < other) & (self.values[one] != self.values[other])
        one, other = one[unlike], other[unlike]
        return int((shapely.area(shapely.intersection(self.geometry[one], self.geometry[other])) > 1).sum())

    def draw(self, window: Window, *, fill: int, all_touched: bool = False) -> NDArray[np.uint8]:
        """Return (y, x) values, ``fill`` where no polygon is; of overlapping polygons the last counts."""
        from affine import Affine
        from rasterio.features import rasterize

        tree: shapely.STRtree = self._tree  # type: ignore[attr-defined]
        hits = np.sort(tree.query(shapely.box(window.col, window.row, window.right, window.bottom)))
        if not hits.size:
            return np.full(window.shape, fill, np.uint8)
        # in window pixels, so that all windows round alike; shifted by one, because GDAL ignores an identity transform
        moved = shapely.transform(self.geometry[hits], lambda points: points - (window.col - 1, window.row - 1))
        burnt: NDArray[np.uint8] = rasterize(
            zip(moved, self.values[hits].tolist(), strict=True),
            window.shape,
            transform=Affine.translation(1, 1),
            fill=fill,
            all_touched=all_touched,
            dtype="uint8",
        )
        return burnt
