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
from rasterio.env import get_gdal_config
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
