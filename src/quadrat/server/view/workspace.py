"""The scenes of a run, whose layers are made anew where its files have changed."""

import hashlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quadrat.chips.store import INDEX
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.runtime.run import Paths
from quadrat.scenes.catalog import read_catalog
from quadrat.server.view.scene import BASELINE, SceneLayers, pictures_of, scene_layers
from quadrat.tasks.common.parts import scoring_of

if TYPE_CHECKING:
    from quadrat.params import Params
    from quadrat.scenes.scene import Scene

ORDER = ("test", "validation", "predict", "train")
"""Splits, those that people look at first."""

EQUATOR = 156_543.034
"""Metres of a pixel of web maps at zoom 0."""


@dataclass(frozen=True)
class Place:
    """Where a scene lies."""

    grid: Grid
    area: Window
    bounds: tuple[float, float, float, float] | None
    """West, south, east, north; None without a place on Earth."""

    @property
    def zoom(self) -> int:
        """The zoom of web maps of the image's own pixels."""
        if self.bounds is None:
            return 0
        latitude = math.radians(min(85.0, max(-85.0, (self.bounds[1] + self.bounds[3]) / 2)))
        return max(0, min(24, math.ceil(math.log2(EQUATOR * math.cos(latitude) / self.grid.gsd_of(self.area)))))


@dataclass
class Workspace:
    """A run. Safe between threads."""

    params_file: Path
    read: Callable[[Path], "Params"]
    """Reads the parameters: a page may stay open while they change."""
    folder: Path
    """For what is made of it."""
    paths: Paths = field(default_factory=Paths)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _made: dict[str, tuple[str, SceneLayers]] = field(default_factory=dict)
    _places: dict[str, Place] = field(default_factory=dict)
    _read: tuple[object, "Params", list["Scene"]] | None = None

    def __post_init__(self) -> None:
        """Read the parameters and the catalog; raise ParamsError or CatalogError if they are wrong."""
        _ = self.scenes

    @property
    def params(self) -> "Params":
        """The parameters, as they are now."""
        return self._current()[0]

    @property
    def scenes(self) -> list["Scene"]:
        """The scenes, in the order in which people look at them."""
        return sorted(self._current()[1], key=lambda scene: ORDER.index(scene.split))

    def _current(self) -> tuple["Params", list["Scene"]]:
        with self._lock:
            if self._read is None or self._read[0] != _states([self.params_file, self._read[1].scenes]):
                params = self.read(self.params_file)
                states = _states([self.params_file, params.scenes])
                self._read = states, params, list(read_catalog(params.scenes))
                self._places.clear()
            return self._read[1], self._read[2]

    def scene(self, name: str) -> "Scene":
        """Return a scene by its id; raise KeyError."""
        return {scene.id: scene for scene in self.scenes}[name]

    def place(self, scene: "Scene") -> Place:
        """Return where a scene lies; of the image only the head is read."""
        with self._lock:
            if scene.id not in self._places:
                with scene.open(pictures_of(self.params).bands[:1], self.params.task) as opened:
                    grid, area = opened.grid, opened.area
                self._places[scene.id] = Place(grid, area, bounds_of(grid, area))
            return self._places[scene.id]

    def listed(self, scene: "Scene") -> tuple[list[str], list[str]]:
        """Return the names of a scene's layers and of its outlines, without making them."""
        place = self.paths.predictions / scene.id
        there, scoring = place.is_dir(), scoring_of(self.params.task)
        rasters = (place / "labels.tif").exists()
        names = ["prediction"] * there * (rasters or scoring.class_map is None)
        if scene.labels and (there or scoring.class_map is not None):
            names += [*["error"] * there, "labels"]
        names += [name for name in ("uncertainty", "values") if (place / f"{name}.tif").exists()]
        if "values" in names:
            names.remove("prediction")
        names += [BASELINE] * (place / BASELINE / "labels.tif").exists()
        chips = scene.split in {"train", "validation"} and (self.paths.chips / INDEX).exists()
        return ["image", *names], [*["aoi"] * bool(scene.aoi), *["chips"] * chips]

    def layers(self, scene: "Scene") -> SceneLayers:
        """Return the layers of a scene, made of the files as they are now."""
        with self._lock:
            lock = self._locks.setdefault(scene.id, threading.Lock())
        with lock:
            stamp = self.stamp(scene)
            known = self._made.get(scene.id)
            if known is None or known[0] != stamp:
                folder = self.folder / f"{scene.id}-{stamp}"
                folder.mkdir(parents=True, exist_ok=True)
                known = self._made[scene.id] = stamp, scene_layers(scene, self.params, self.paths, folder)
            return known[1]

    def stamp(self, scene: "Scene") -> str:
        """Return a digest of what the file system tells of a scene's files."""
        files = [self.params_file, self.params.scenes, self.paths.chips / INDEX, *map(Path, scene.files())]
        files += sorted((self.paths.predictions / scene.id).rglob("*"))
        return hashlib.blake2b(repr(_states(files)).encode(), digest_size=8).hexdigest()

    def stamps(self) -> str:
        """Return a digest of all scenes' files, and of the scores."""
        told = [self.stamp(scene) for scene in self.scenes], _states([self.paths.eval_metrics, self.paths.intervals])
        return hashlib.blake2b(repr(told).encode(), digest_size=8).hexdigest()

    def scored(self) -> Iterator[tuple["Scene", SceneLayers]]:
        """Yield the scenes that have an error layer, with their layers."""
        for scene in self.scenes:
            if "error" in self.listed(scene)[0]:
                yield scene, self.layers(scene)


def bounds_of(grid: Grid, area: Window) -> tuple[float, float, float, float] | None:
    """Return west, south, east, north of a part of a grid, degrees, east above 180 where it lies across 180°.

    None without a place on Earth.
    """
    from rasterio.crs import CRS
    from rasterio.warp import transform_bounds

    if not grid.on_earth or grid.crs is None:
        return None
    west, south, east, north = transform_bounds(grid.crs, CRS.from_epsg(4326), *grid.footprint(area).bounds)
    return west, south, east + 360 * (west > east), north


def _states(files: Any) -> object:
    return [_state(file) for file in files]


def _state(file: Path) -> object:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def colors_of(classes: Any) -> list[Mapping[str, Any]]:
    """Return classes as in ``/info``."""
    return [{"id": number, "name": one.name, "color": one.color} for number, one in enumerate(classes)]
