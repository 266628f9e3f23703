"""The images that are served: named, checked when the server starts, and again where their files have changed."""

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from quadrat.errors import ImageError, QuadratError
from quadrat.geo.geometry.footprints import on_earth
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.runtime.cache.snapshot import state
from quadrat.serving.new_images import Offered, Reading, offered
from quadrat.serving.ready import Ready

ENDINGS = (".tif", ".tiff", ".jp2", ".img", ".png", ".jpg", ".jpeg")
"""Of the files of a folder, these are images."""

FRESH = 1.0
"""Seconds for which a file counts as unchanged."""

MOST_LISTED = 10_000
"""Most images of a folder."""


@dataclass(frozen=True)
class Served:
    """An image that is served, as it was when it was last checked."""

    one: Offered
    grid: Grid
    area: Window
    """The bounds of what is predicted: of the area of interest, or the whole grid."""
    gsd: float
    stamp: str
    """Changes with the files."""
    warnings: tuple[str, ...]
    bounds: tuple[float, float, float, float] | None
    """West, south, east, north, degrees; None without a place on Earth. East is above 180 if it lies across 180°."""

    @property
    def id(self) -> str:
        """Its name in all routes."""
        return self.one.id


class Gallery:
    """Images by name. Safe between threads."""

    def __init__(self, images: Sequence[Offered], ready: Ready, reading: Reading) -> None:
        """Check ``images``; raise ImageError or ModelError for one that the bundle can't predict."""
        self._ready, self._reading = ready, reading
        self._lock = threading.Lock()
        twice = sorted({one.id for one in images if sum(other.id == one.id for other in images) > 1})
        if twice:
            problem, hint = "two images have one name", "rename one of the files, or list them in a catalog"
            raise ImageError(problem, got=", ".join(twice), hint=hint)
        self._images = {one.id: self._checked(one) for one in images}
        self._seen = dict.fromkeys(self._images, time.monotonic())

    def __iter__(self) -> Iterator[Served]:
        """Yield all images as they were last seen."""
        return iter(tuple(self._images.values()))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._images)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._images)

    def get(self, name: str) -> Served:
        """Return the image called ``name``; raise KeyError, or ImageError if its files are not what they were."""
        with self._lock:
            found = self._images[name]
            if time.monotonic() - self._seen[name] > FRESH:
                if stamp_of(found.one) != found.stamp:
                    found = self._images[name] = self._checked(found.one)
                self._seen[name] = time.monotonic()
            return found

    def fresh(self, name: str) -> Served | None:
        """Return the image if its files need not be looked at again; do not wait."""
        seen = self._seen.get(name)
        return self._images[name] if seen is not None and time.monotonic() - seen <= FRESH else None

    def _checked(self, one: Offered) -> Served:
        stamp = stamp_of(one)
        resampled = self._ready.resampled(one, self._reading)
        warnings = self._ready.warnings(resampled, self._reading)
        with resampled.open(self._ready.bundle.card.inputs) as scene:
            grid, area, gsd = scene.grid, scene.area, scene.grid.gsd_of(scene.area)
        return Served(resampled, grid, area, gsd, stamp, tuple(warnings), _bounds(grid, area))


def collected(path: str | None, ready: Ready, reading: Reading) -> list[Offered]:
    """Return the images of a file, a folder of files or a catalog; raise ImageError for a folder without images."""
    inputs = ready.bundle.card.inputs
    if path is None:
        return []
    folder = Path(path)
    if not folder.is_dir():
        return offered(path, inputs, reading)
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in ENDINGS and file.is_file())
    if not 0 < len(files) <= MOST_LISTED:
        raise ImageError(
            "the folder holds no images" if not files else "the folder holds too many images",
            file=folder,
            expected=f"up to {MOST_LISTED} files that end in {', '.join(ENDINGS)}",
            hint="name an image, or a catalog (.yaml)",
        )
    return [one for file in files for one in offered(str(file), inputs, reading)]


def stamp_of(one: Offered) -> str:
    """Return a digest of what the file system tells of an image's files: size, times, inode."""
    paths = sorted({*one.image.files(), *one.aoi})
    states: Mapping[str, Any] = {path: _state(path) for path in paths}
    return hashlib.blake2b(repr((states, one.image.model_dump_json())).encode(), digest_size=16).hexdigest()


def _state(path: str) -> object:
    with suppress(OSError, ValueError):
        return state(Path(path))
    return None


def _bounds(grid: Grid, area: Window) -> tuple[float, float, float, float] | None:
    if not grid.on_earth:
        return None
    try:
        (footprint,) = on_earth(np.array([grid.footprint(area)], object), grid.crs)
    except (QuadratError, ValueError):
        return None
    found = footprint.bounds
    if len(found) != 4 or not np.isfinite(found).all():
        return None
    parts = shapely.bounds(shapely.get_parts(footprint))
    beyond = parts[:, 2] <= 0
    if found[0] <= -180 and found[2] >= 180 and beyond.any() and (parts[~beyond, 0] >= 0).all():
        return float(parts[~beyond, 0].min()), found[1], float(parts[beyond, 2].max()) + 360, found[3]
    return (found[0], found[1], found[2], found[3])
