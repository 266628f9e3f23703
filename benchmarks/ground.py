"""Seeded scenes to measure on: 512-tiled DEFLATE GeoTIFFs, with labels as rasters of class ids, and a catalog."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.transform import from_origin
from rasterio.windows import Window as RasterioWindow
from shapely import affinity, box
from shapely.geometry.base import BaseGeometry

from quadrat.runtime.parallel import Threads, cores, results
from quadrat.scenes.catalog import Catalog, written

Variant = Literal["u16x4", "u8x3"]
"""Type and number of the bands."""

BLOCK = 512
"""Side of a block, px; scenes are made and written in so many rows at once."""

GSD = 10.0
"""Side of a pixel, m."""

CELLS = ((256, 0.55), (32, 0.3), (6, 0.15))
"""Sides, px, and weights of the smooth fields that make up the ground."""


@dataclass(frozen=True)
class Ground:
    """Scenes of one size below ``folder``."""

    folder: Path
    variant: Variant
    height: int
    width: int
    count: int
    classes: int = 2
    east: float = 400_000.0
    """Where the first scene begins, m."""

    @property
    def bands(self) -> tuple[str, ...]:
        """The names of the bands."""
        return tuple(f"B{number}" for number in range(1, 1 + int(self.variant[-1])))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the pixels."""
        return np.dtype(np.uint16 if self.variant == "u16x4" else np.uint8)

    @property
    def pixels(self) -> int:
        """Px of all scenes together, each counted once for all its bands."""
        return self.height * self.width * self.count

    @property
    def images(self) -> list[Path]:
        """The scenes' images."""
        return [self.folder / f"scene-{number}.tif" for number in range(self.count)]

    @property
    def labels(self) -> list[Path]:
        """The scenes' labels."""
        return [self.folder / f"scene-{number}-labels.tif" for number in range(self.count)]

    @property
    def held(self) -> "Ground":
        """One small scene beside them, to validate on where all others are learnt from."""
        return replace(self, folder=self.folder / "held", height=BLOCK, width=BLOCK, count=1, east=300_000.0)

    def catalog(self, splits: dict[int, str]) -> Path:
        """Write the catalog of the scenes in ``splits``, by number; return where it is. One more is ``held``."""
        about = {"unit": "DN", "scale": 1.0, "offset": 0.0, "resampling": "nearest", "bands": list(self.bands)}
        paths = dict(enumerate(zip([*self.images, *self.held.images], [*self.labels, *self.held.labels], strict=True)))
        files = {n: (str(paths[n][0]), str(paths[n][1])) for n in splits}
        images = {f"i{n}": {"grid": "B1", "sources": [{"path": image, **about}]} for n, (image, _) in files.items()}
        labels = {f"l{n}": {"kind": "raster", "path": path, "values": "ids"} for n, (_, path) in files.items()}
        scenes = [{"id": f"s{n}", "split": split, "image": f"i{n}", "labels": f"l{n}"} for n, split in splits.items()]
        path = self.folder / f"{'-'.join(f'{split}{n}' for n, split in list(splits.items())[:8])}.yaml"
        content = {"images": images, "labels": labels, "scenes": scenes}
        path.write_bytes(written(Catalog.model_validate(content, strict=False)))
        return path


def make(ground: Ground) -> Ground:
    """Write the scenes that aren't there yet, and the one that is held out."""
    if ground.folder.name != "held":
        make(ground.held)
    ground.folder.mkdir(parents=True, exist_ok=True)
    absent = [n for n in range(ground.count) if not (ground.images[n].exists() and ground.labels[n].exists())]
    for _ in results(Threads(cores()).map(partial(_write, ground), absent)):
        pass
    return ground


def _write(ground: Ground, number: int) -> None:
    image, labels = ground.images[number], ground.labels[number]
    generator = np.random.default_rng([7, ground.height, ground.width, number])
    shapes = list(_buildings(ground, generator))
    fields = [_Field(generator, ground, cell) for cell, _ in CELLS]
    transform = from_origin(ground.east + number * ground.width * GSD, 5_300_000, GSD, GSD)
    profile: dict[str, Any] = {"driver": "GTiff", "height": ground.height, "width": ground.width, "tiled": True}
    profile |= {"blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate", "num_threads": 2}
    profile |= {"crs": "EPSG:32633", "transform": transform}
    part = image.with_name(f".part-{image.name}")
    with (
        rasterio.open(part, "w", count=len(ground.bands), dtype=ground.dtype, interleave="pixel", **profile) as pixels,
        rasterio.open(labels, "w", count=1, dtype="uint8", **profile) as truth,
    ):
        for row in range(0, ground.height, BLOCK):
            rows = slice(row, min(row + BLOCK, ground.height))
            classes = _drawn(shapes, rows, ground)
            base = sum(weight * field.rows(rows) for field, (_, weight) in zip(fields, CELLS, strict=True))
            window = RasterioWindow(0, row, ground.width, rows.stop - row)
            pixels.write(_pixels(ground, base, classes, generator), window=window)
            truth.write(classes[None], window=window)
    part.replace(image)  # last: a scene that is there is whole


def _pixels(
    ground: Ground, base: Any, classes: NDArray[np.uint8], generator: np.random.Generator
) -> NDArray[np.uint16] | NDArray[np.uint8]:
    low, span, noise = (300, 2600, 20) if ground.variant == "u16x4" else (20, 150, 2)
    made = np.empty((len(ground.bands), *classes.shape), ground.dtype)
    for number in range(len(made)):
        values = low + span * ((0.7 + 0.1 * number) * base + (0.35 + 0.1 * number) / ground.classes * classes)
        values += generator.standard_normal(classes.shape, np.float32) * noise
        made[number] = np.clip(values, 1, np.iinfo(ground.dtype).max)
    return made


def _buildings(ground: Ground, generator: np.random.Generator) -> Iterator[tuple[BaseGeometry, int]]:
    """Give turned rectangles with their class, from top to bottom: about one for 96 × 96 px."""
    tops = np.sort(generator.uniform(0, ground.height, ground.height * ground.width // 96**2))
    for top in tops.tolist():
        left = float(generator.uniform(0, ground.width))
        height, width = generator.uniform(8, 44, 2)
        rectangle = box(left, top, left + width, top + height)
        yield affinity.rotate(rectangle, float(generator.uniform(0, 180))), int(generator.integers(1, ground.classes))


def _drawn(shapes: list[tuple[BaseGeometry, int]], rows: slice, ground: Ground) -> NDArray[np.uint8]:
    near = [(shape, number) for shape, number in shapes if shape.bounds[3] > rows.start and shape.bounds[1] < rows.stop]
    size = (rows.stop - rows.start, ground.width)
    if not near:
        return np.zeros(size, np.uint8)
    drawn: NDArray[np.uint8] = rasterize(near, size, transform=from_origin(0, rows.start, 1, -1), dtype=np.uint8)
    return drawn


class _Field:
    """A smooth random field over a scene, made row by row: bilinear between random values ``cell`` px apart."""

    def __init__(self, generator: np.random.Generator, ground: Ground, cell: int) -> None:
        self._cell = cell
        knots = generator.random((ground.height // cell + 2, ground.width // cell + 2), np.float32)
        col, part = np.divmod(np.arange(ground.width, dtype=np.float32), np.float32(cell))
        here, part = col.astype(np.intp), part / cell
        self._across = knots[:, here] * (1 - part) + knots[:, here + 1] * part

    def rows(self, rows: slice) -> NDArray[np.float32]:
        """Return (y, x) of the rows."""
        row, part = np.divmod(np.arange(rows.start, rows.stop, dtype=np.float32), np.float32(self._cell))
        here, part = row.astype(np.intp), (part / self._cell)[:, None]
        made: NDArray[np.float32] = (self._across[here] * (1 - part) + self._across[here + 1] * part).astype(np.float32)
        return made
