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
    blocks: NDArray[np.object_]
    folds: NDArray[np.intp]
    """(block,), from 0."""

    def parts(self, fold: int, settings: Folds) -> dict[str, Any]:
        """Return the ground of the splits ``train``, ``validation`` and ``test`` of a fold."""
        test = shapely.union_all(self.blocks[self.folds == fold])
        after = (fold + 1) % settings.count
        validation = shapely.union_all(self.blocks[self.folds == after])
        others = shapely.union_all(self.blocks[~np.isin(self.folds, (fold, after))])
        near = test.buffer(settings.gap, join_style="mitre") if settings.gap else test
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

    earth = geopandas.GeoSeries([_area(scene, task) for scene in scenes], crs=EARTH)
    middle = shapely.box(*earth.total_bounds).centroid
    plane = CRS.from_proj4(f"+proj=laea +lat_0={middle.y} +lon_0={middle.x} +datum=WGS84 +units=m")
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
    ids = [scene.id for scene in scenes]
    return Cut(plane, dict(zip(ids, areas, strict=True)), blocks, folds)


def _area(scene: Scene, task: Task) -> Any:
    """Return what counts of a scene, in longitude and latitude."""
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
        return geopandas.GeoSeries([dense], crs=grid.crs).to_crs(EARTH).iloc[0]


def _blocks(ground: Any, side: float) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
    """Return the blocks (block,) with some of the ground, and how much, m²."""
    left, low, right, high = ground.bounds
    across, up = (max(1, int(np.ceil(length / side))) for length in (right - left, high - low))
    if across * up > MOST:
        raise CatalogError(
            "the ground of the scenes has too many blocks",
            expected=f"at most {MOST:,}",
            got=f"{across * up:,} of {side:g} m",
            hint="set a larger folds.block",
        )
    cols, rows = (places.ravel() for places in np.meshgrid(np.arange(across), np.arange(up)))
    boxes = shapely.box(left + cols * side, low + rows * side, left + (cols + 1) * side, low + (rows + 1) * side)
    sizes = shapely.area(shapely.intersection(boxes, ground))
    return np.asarray(boxes[sizes > 0], object), sizes[sizes > 0]
