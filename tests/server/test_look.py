"""How images look on maps."""

from pathlib import Path

import numpy as np

from quadrat.scenes.image import Image
from quadrat.scenes.scene import OpenScene
from quadrat.server.blocks.look import Look
from quadrat.serving.units import InUnits
from tests.ground import write_raster

DATES = ("2020-01-01", "2020-02-01")


def test_a_series_shows_each_pixel_on_the_first_date_that_has_it(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 200, (2, 2, 20, 30)).astype(np.uint8)
    pixels[0, :, :, :10] = pixels[1, :, :, 5:20] = pixels[1, 1, :, :2] = 0
    for date, values in zip(DATES, pixels, strict=True):
        write_raster(tmp_path / f"{date}.tif", values, nodata=0)
    image = Image.model_validate(
        {"dates": DATES, "sources": ({"path": f"{tmp_path}/{{date}}.tif", "bands": ("a", "b")},)}
    )
    with image.open(("a", "b")) as plain:
        bands = plain.bands
    look = Look((0,), (0, 100))
    with InUnits(image, bands) as raster:
        scene = OpenScene("x", "predict", raster, None, None)
        strip = raster.read(raster.grid.area)
        near, far = look.drawn("x", scene, strip.values, strip.seen), look.overview("x", scene, 30)
    known = np.arange(30) >= 10
    known[2:5] = True
    shown = np.where(np.arange(30) >= 10, pixels[0, 0], pixels[1, 0])
    low, high = shown[:, known].min(), shown[:, known].max()
    np.testing.assert_array_equal(near, far)
    np.testing.assert_array_equal(near[3], np.broadcast_to(known * 255, (20, 30)))
    np.testing.assert_array_equal(near[0][:, known], np.rint((shown[:, known] - low) / (high - low) * 255))
