"""A small town for new projects: images and labels as a user gives them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from affine import Affine
from shapely.geometry.base import BaseGeometry

from quadrat.new_project.plan import Plan, Request, plan
from tests.ground import NORTH_UP, pixel_box, write_areas, write_raster

USES = ("forest", "meadow", "water")

SHAPE = (60, 320)
"""Height and width of the image, px."""


def write_image(path: Path, bands: int = 3, transform: Affine = NORTH_UP, shape: tuple[int, int] = SHAPE) -> Path:
    """Write an image of stripes of 20 px that differ by use."""
    use = np.arange(shape[1]) // 20 % 3
    noise = np.random.default_rng(1).integers(0, 20, (bands, *shape))
    return write_raster(path, (noise + 40 + 50 * use).astype(np.uint8), transform)


def stripes(transform: Affine = NORTH_UP, shape: tuple[int, int] = SHAPE) -> list[BaseGeometry]:
    """Return the ground of each stripe."""
    return [pixel_box(left, 0, left + 20, shape[0], transform) for left in range(0, shape[1], 20)]


def uses(count: int) -> list[str]:
    """Return the use of each stripe."""
    return [USES[number % 3] for number in range(count)]


def write_labels(path: Path, crs: str | None = "EPSG:4326") -> Path:
    """Write the stripes as features with a field of classes and other fields."""
    areas = stripes()
    fields = {"fid_old": range(len(areas)), "use": uses(len(areas)), "area_m2": [0.5 + n for n in range(len(areas))]}
    return write_areas(path, areas, fields, to_crs=crs)


def planned(images: Sequence[Path] | Path, *labels: Path, task: str | None = None, field: str | None = None) -> Plan:
    """Return the plan of a new project."""
    paths = [images] if isinstance(images, Path) else images
    return plan("town", Request(tuple(map(str, paths)), tuple(map(str, labels)), task, field))
