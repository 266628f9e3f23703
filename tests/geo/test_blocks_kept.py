"""How many decoded blocks GDAL keeps: GDAL asks once for each process, so this one is left alone."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from tests.ground import NORTH_UP, write_raster

PROGRAM = """
import sys
from quadrat.__main__ import settle
settle()
from rasterio._env import get_gdal_config
from tests.ground import image
from quadrat.scenes.image import Image
paths = sys.argv[1:]
sources = [image(path, (f"b{n}",)).sources[0] for n, path in enumerate(paths)]
bands = [f"b{n}" for n in range(len(paths))]
with Image(grid="b0", sources=tuple(sources)).open(bands) as raster:
    raster.read(raster.grid.area)
print(get_gdal_config("GDAL_CACHEMAX"))
"""


@pytest.mark.parametrize(("files", "said", "kept"), [(1, None, 32 << 20), (2, None, 512 << 20), (2, "64", 64 << 20)])
def test_blocks_are_kept_where_strips_share_them(files: int, said: str | None, kept: int, tmp_path: Path) -> None:
    fine = write_raster(tmp_path / "fine.tif", np.ones((1, 64, 64), np.uint8))
    coarse = write_raster(tmp_path / "coarse.tif", np.ones((1, 32, 32), np.uint8), transform=NORTH_UP * Affine.scale(2))
    environment = {key: value for key, value in os.environ.items() if key != "GDAL_CACHEMAX"}
    environment |= {"GDAL_CACHEMAX": said} if said else {}
    environment["PYTHONPATH"] = os.pathsep.join(["src", "."])
    command = [sys.executable, "-c", PROGRAM, *map(str, [fine, coarse][:files])]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)
    assert int(done.stdout) == kept


LABELS = """
import sys
from quadrat.__main__ import settle
settle()
from contextlib import ExitStack
from rasterio._env import get_gdal_config
from quadrat.geo.files.raster_files import keep_few_blocks
from quadrat.labels.raster_values import Pixels
from tests.ground import image
keep_few_blocks()
scene, *labels = sys.argv[1:]
with image(scene, ("b",)).open(["b"]) as raster, ExitStack() as files:
    for path in labels:
        Pixels(path, raster.grid, "s", files)
    print(get_gdal_config("GDAL_CACHEMAX"))
"""

WIDE = {"tiled": True, "blockxsize": 64, "blockysize": 64}
STRIPS = {"blockysize": 8}
TALL = {"tiled": True, "blockxsize": 64, "blockysize": 2048}


@pytest.mark.parametrize(
    ("scene", "labels", "scale", "kept"),
    [
        (WIDE, WIDE, 1, 8),
        (WIDE, {"blockysize": 8}, 1, 8),  # strips, but short ones
        (STRIPS, {"blockysize": 8}, 1, 32),
        (WIDE, WIDE, 2, 32),  # on another grid
        (TALL, WIDE, 1, 32),
    ],
)
def test_analyze_keeps_blocks_that_tiles_share(
    scene: dict[str, int], labels: dict[str, int], scale: int, kept: int, tmp_path: Path
) -> None:
    pixels = np.ones((1, 2048, 256) if scene is not STRIPS else (1, 8, 5000), np.uint8)
    image = write_raster(tmp_path / "image.tif", pixels, **scene)
    above = write_raster(tmp_path / "labels.tif", pixels[:, ::scale, ::scale], NORTH_UP * Affine.scale(scale), **labels)
    environment = {key: value for key, value in os.environ.items() if key != "GDAL_CACHEMAX"}
    command = [sys.executable, "-c", LABELS, str(image), str(above)]
    root = Path(__file__).parents[2]
    environment["PYTHONPATH"] = os.pathsep.join(["src", "."])
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)
    assert int(done.stdout) == kept << 20
