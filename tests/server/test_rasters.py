"""Rasters of a run on the tiles of a map."""

import io
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from pyproj import Transformer
from rasterio.crs import CRS

from quadrat.server.drawing.warp import Target
from quadrat.server.view.rasters import Raster
from quadrat.tasks.common.classes import Class
from tests.ground import UTM

CLASSES = tuple(Class(name=name, color=color) for name, color in (("a", "#102030"), ("b", "#ff0000")))
SHAPE = (140, 200)
AROUND = 2 * 20_037_508.342789244
GRIDS = {
    "north up": (Affine(10, 0, 5e5, 0, -10, 5e6), UTM),
    "south up": (Affine(10, 0, 5e5, 0, 10, 5e6), UTM),
    "mirrored": (Affine(-10, 0, 5e5, 0, -10, 5e6), UTM),
    "turned": (Affine(8, 6, 5e5, 6, -8, 5e6), UTM),
    "south up in degrees": (Affine(1e-4, 0, 15, 0, 1e-4, 10), "EPSG:4326"),
    "across 180°": (Affine(1e-4, 0, 179.99, 0, -1e-4, 10), "EPSG:4326"),
    "beyond 180°": (Affine(1e-4, 0, 200, 0, -1e-4, 10), "EPSG:4326"),
}


@pytest.mark.parametrize("name", GRIDS)
def test_each_pixel_is_where_it_lies_on_any_grid(name: str, tmp_path: Path) -> None:
    transform, crs = GRIDS[name]
    ids = np.random.default_rng(0).integers(0, 2, SHAPE).astype(np.uint8)
    ids[:10] = 255
    about = {"driver": "GTiff", "height": SHAPE[0], "width": SHAPE[1], "count": 1, "dtype": "uint8", "nodata": 255}
    with rasterio.open(tmp_path / "a.tif", "w", transform=transform, crs=crs, **about) as file:
        file.write(ids, 1)
    table = np.zeros((256, 4), np.uint8)
    table[:2] = [(*one.rgb, 255) for one in CLASSES]
    for place in ((100, 70), (195, 20)):
        x, y = Transformer.from_crs(crs, 3857, always_xy=True).transform(*(transform @ place))
        x -= AROUND * round(x / AROUND)
        target = Target(CRS.from_epsg(3857), Affine(7, 0, x - 7 * 32, 0, -7, y + 7 * 32), 64, 64)
        drawn = Raster(tmp_path / "a.tif", CLASSES).draw(target)
        assert drawn is not None
        cols, rows = np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5)
        x, y = Transformer.from_crs(3857, crs, always_xy=True).transform(*(target.transform @ (cols, rows)))
        if crs != UTM:
            x -= 360 * np.round((x - (transform @ (100, 70))[0]) / 360)
        cols, rows = (np.floor(each).astype(int) for each in ~transform @ (x, y))
        here = (cols >= 0) & (rows >= 0) & (cols < SHAPE[1]) & (rows < SHAPE[0])
        expected = np.full((64, 64), 255)
        expected[here] = ids[rows[here], cols[here]]
        assert (expected < 2).sum() > 100
        wrong = (np.array(Image.open(io.BytesIO(drawn)).convert("RGBA")) != table[expected]).any(-1)
        assert wrong.mean() < 0.002  # on a pixel's edge, rounding decides
