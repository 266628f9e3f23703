"""Areas of interest: the polygons in which a scene counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.errors import AOIError
from quadrat.geo.geometry.accuracy import Doubt, doubtful_place
from quadrat.geo.geometry.parts import Geometries
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.geo.vectors.burning import Areas
from quadrat.geo.vectors.features import bounds, clipped, crs_name, extent, on_grid, read_features, workable

if TYPE_CHECKING:
    import geopandas

SPLIT = "ml-aoi:split"
"""The property of a STAC Item with its split: ``train``, ``validate`` or ``test``."""


@dataclass(frozen=True)
class AOI:
    """A scene's area of interest, in pixel coordinates of its grid."""

    geometry: Geometries
    bounds: Window
    """The smallest window of the grid with all pixels whose centres are within its bounds."""
    doubts: tuple[Doubt, ...] = ()
    """Looks for possible problems of its files."""

    def __post_init__(self) -> None:
        """Index the areas."""
        object.__setattr__(self, "_areas", Areas(self.geometry, np.ones(len(self.geometry), np.uint8)))

    @property
    def remarks(self) -> tuple[str, ...]:
        """Possible problems of its files."""
        return tuple(remark for doubt in self.doubts for remark in doubt())

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return (y, x), True if the AOI covers the pixel's centre; the window may reach beyond the grid."""
        areas: Areas = self._areas  # type: ignore[attr-defined]
        return areas.draw(window, fill=0).astype(np.bool_)


def open_aoi(paths: Sequence[str], grid: Grid, scene: str, split: str = "predict") -> AOI | None:
    """Return the union of the areas of all files, each in any CRS; None without files.

    STAC Items with the ml-aoi extension count if they are of the scene's ``split``; all do for split ``predict``.
    Raises AOIError for a file that can't be read or covers no pixel of the grid.
    """
    if not paths:
        return None
    parts = [_open(path, grid, scene, split) for path in paths]
    doubts = tuple(doubt for part in parts for doubt in part.doubts)
    return _aoi(np.concatenate([part.geometry for part in parts]), doubts)


def _open(path: str, grid: Grid, scene: str, split: str) -> AOI:
    frame = _of_split(read_features(path, None, AOIError, scene), path, scene, split)
    with workable(path, AOIError, scene):
        geometry, _ = on_grid(frame, grid, path, AOIError, scene)
        geometry, _ = clipped(geometry[shapely.area(geometry) > 0], grid, 0)
    if geometry.size:
        aoi = _aoi(geometry, (partial(doubtful_place, path, frame.crs, grid),))
        if aoi.mask(aoi.bounds).any():
            return aoi
    raise AOIError(
        "the area of interest covers no pixel of the image",
        scene,
        path,
        expected=f"an area within {bounds(grid)} ({crs_name(grid.crs)})",
        got=f"{len(frame)} features within {extent(frame)} ({crs_name(frame.crs)})",
        hint="check the AOI's CRS (GeoJSON is longitude, latitude unless it says otherwise) and its place",
    )


def _of_split(frame: "geopandas.GeoDataFrame", path: str, scene: str, split: str) -> "geopandas.GeoDataFrame":
    """Return the features of the split, if features name their split."""
    if SPLIT not in frame or split == "predict":
        return frame
    named = frame[SPLIT].replace("validate", "validation")
    if not (named == split).any():
        raise AOIError(
            "no item is of the scene's split",
            scene,
            path,
            expected=f"{SPLIT} {'validate' if split == 'validation' else split}",
            got=", ".join(f"{count} of {name}" for name, count in frame[SPLIT].value_counts(dropna=False).items()),
            hint="correct the scene's split in the catalog, or name another file",
        )
    return frame[named == split]


def _aoi(geometry: Geometries, doubts: tuple[Doubt, ...]) -> AOI:
    left, top, right, bottom = shapely.total_bounds(geometry)
    row, col = int(np.ceil(top - 0.5)), int(np.ceil(left - 0.5))
    height, width = int(np.floor(bottom + 0.5)) - row, int(np.floor(right + 0.5)) - col
    return AOI(geometry, Window(row, col, max(1, height), max(1, width)), doubts)
