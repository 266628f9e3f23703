"""Cuts the ground of scenes into blocks, and blocks into folds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.errors import CatalogError
from quadrat.folds.section import Folds
from quadrat.geo.geometry.footprints import EARTH
from quadrat.geo.grids.grid import Grid
from quadrat.scenes.scene import Scene
from quadrat.tasks import Task

if TYPE_CHECKING:
    import geopandas

MOST = 100_000
"""Most blocks."""

SEGMENTS = 64
"""Parts of the side of an area that are brought to another CRS one by one, because straight lines become bent."""


@dataclass(frozen=True, eq=False)
class Cut:
    """The ground of scenes in a plane of metres, and the blocks with their folds."""

    plane: Any
    """The CRS of all geometries here."""
    areas: Mapping[str, Any]
    """What counts of each scene, by its id."""
    grids: Mapping[str, Grid]
    """The scenes' pixels."""
    blocks: NDArray[np.object_]
    folds: NDArray[np.intp]
    """(block,), from 0."""
    stretch: float = 1.0
    """How much longer than on the ground a line in the plane may be."""

    def parts(self, fold: int, settings: Folds) -> dict[str, Any]:
        """Return the ground of the splits ``train``, ``validation`` and ``test`` of a fold."""
        test = shapely.union_all(self.blocks[self.folds == fold])
        after = (fold + 1) % settings.count
        validation = shapely.union_all(self.blocks[self.folds == after])
        others = shapely.union_all(self.blocks[~np.isin(self.folds, (fold, after))])
        near = test.buffer(settings.gap * self.stretch, join_style="mitre") if settings.gap else test
        return {"train": others.difference(near), "validation": validation.difference(near), "test": test}

    def frame(self) -> "geopandas.GeoDataFrame":
        """Return the blocks as a table with their folds, from 1, in longitude and latitude."""
        import geopandas

        table = {"fold": self.folds + 1}
        return geopandas.GeoDataFrame(table, geometry=self.blocks, crs=self.plane).to_crs(EARTH)


def cut(scenes: Sequence[Scene], task: Task, settings: Folds, seed: int) -> Cut:
    """Cut the ground of ``scenes``; raise CatalogError for scenes without a place, or fewer blocks than folds.

    Blocks are squares in an equal-area projection around the middle of all scenes. In an order that the seed decides,
    each goes to the fold with the least ground so far.
    """
    import geopandas
    from pyproj import CRS

    found = {scene.id: _area(scene, task) for scene in scenes}
    earth = geopandas.GeoSeries([area for _, area in found.values()], crs=EARTH)
    lon, lat, stretch = _middle(shapely.get_coordinates(earth.to_numpy()))
    plane = CRS.from_proj4(f"+proj=laea +lat_0={lat} +lon_0={lon} +datum=WGS84 +units=m")
    areas = np.asarray(shapely.make_valid(earth.to_crs(plane).to_numpy()), object)
    blocks, sizes = _blocks(shapely.union_all(areas), settings.block)
    if len(blocks) < settings.count:
        raise CatalogError(
            "the ground of train and validation scenes has fewer blocks than folds",
            expected=f"at least {settings.count} blocks of {settings.block:g} m",
            got=len(blocks),
            hint="set a smaller folds.block, or fewer folds.count",
        )
    folds, filled = np.zeros(len(blocks), np.intp), np.zeros(settings.count)
    for number in np.random.default_rng(seed).permutation(len(blocks)).tolist():
        folds[number] = filled.argmin()
        filled[folds[number]] += sizes[number]
    grids = {scene: grid for scene, (grid, _) in found.items()}
    return Cut(plane, dict(zip(found, areas, strict=True)), grids, blocks, folds, stretch)


def _middle(places: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return longitude and latitude of the middle of ``places`` (place, 2), and the stretch of the plane around it.

    Unlike the middle of their bounds, it is among them at the 180th meridian too. At an angle c
    from the middle, lines across the direction to it are 1 / cos(c / 2) times as long as on the ground.
    """
    lon, lat = np.radians(places).T
    towards = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    x, y, z = middle = towards.mean(0)
    cosine = float((towards @ middle).min() / max(1e-9, float(np.linalg.norm(middle))))
    stretch = 1 / max(0.1, np.sqrt((1 + cosine) / 2))
    return float(np.degrees(np.arctan2(y, x))), float(np.degrees(np.arctan2(z, np.hypot(x, y)))), max(1.0, stretch)


def _area(scene: Scene, task: Task) -> tuple[Grid, Any]:
    """Return a scene's grid, and what counts of the scene, in longitude and latitude."""
    import geopandas

    with scene.open((scene.image.grid_band,), task) as opened:
        grid, aoi = opened.grid, opened.aoi
        if not grid.on_earth:
            hint = "cross-validation on the ground needs images with a CRS"
            raise CatalogError("an image has no place on Earth", scene.id, hint=hint)
        frame: Any = grid.footprint(grid.area)
        if aoi is not None:
            a, b, c, d, e, f = tuple(grid.transform)[:6]
            whole = shapely.union_all(shapely.make_valid(np.asarray(aoi.geometry)))
            frame = shapely.intersection(shapely.affinity.affine_transform(whole, [a, b, d, e, c, f]), frame)
        left, low, right, high = frame.bounds
        dense = shapely.segmentize(frame, max(right - left, high - low) / SEGMENTS)
        return grid, geopandas.GeoSeries([dense], crs=grid.crs).to_crs(EARTH).iloc[0]


def _blocks(ground: Any, side: float) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
    """Return the blocks (block,) with some of the ground, and how much, m²."""
    left, low, *_ = ground.bounds
    bounds = shapely.bounds(shapely.get_parts(ground)) - [left, low, left, low]
    first, last = (bounds[:, :2] // side).astype(int), (bounds[:, 2:] // side).astype(int)
    count = int((last - first + 1).prod(1).sum())
    if count > MOST:
        raise CatalogError(
            "the ground of the scenes has too many blocks",
            expected=f"at most {MOST:,}",
            got=f"{count:,} of {side:g} m",
            hint="set a larger folds.block",
        )
    ranges = [[np.arange(*ends) for ends in zip(*pair, strict=True)] for pair in zip(first, last + 1, strict=True)]
    found = [np.stack(np.meshgrid(rows, cols, indexing="ij"), -1).reshape(-1, 2) for cols, rows in ranges]
    rows, cols = np.unique(np.concatenate(found), axis=0).T
    boxes = shapely.box(left + cols * side, low + rows * side, left + (cols + 1) * side, low + (rows + 1) * side)
    sizes = shapely.area(shapely.intersection(boxes, ground))
    return np.asarray(boxes[sizes > 0], object), sizes[sizes > 0]
