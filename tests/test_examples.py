"""The examples, each in a fresh clone: one file changes, and the pipeline runs."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from rasterio.features import rasterize

from tests.ground import pixel_box, write_areas, write_raster
from tests.project import call, change, clone
from tests.serving import Served, served

pytestmark = pytest.mark.slow

VEGAS = "azavea-research-public-data/raster-vision/examples/spacenet"
"""The key of the quickstart's folder in its bucket."""

QUICK = {
    "chip.chip_size": 64,
    "chip.windows.count": 60,
    "model.encoder": "resnet10t",
    "model.depth": 3,
    "model.decoder": {"decoder_channels": [16, 8, 8]},
    "baseline.trees": 4,
    "epochs": 8,
    "train.patience": 8,
    "lr": 0.01,
    "predict.window_size": 64,
    "predict.stride": 48,
}


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Served]:
    """Serve stand-ins of two images of Las Vegas and their footprints, under the same keys."""
    folder = tmp_path / "bucket"
    for n, tile in enumerate(("img205", "img25")):
        generator = np.random.default_rng(n)
        place = Affine(2.7e-6, 0, -115.3 + 0.01 * n, 0, -2.7e-6, 36.1)
        corners = generator.integers(0, 140, (12, 2))
        roofs = [pixel_box(col, row, col + 20, row + 12, place) for col, row in corners]
        built = rasterize(roofs, (160, 160), transform=place)
        pixels = generator.normal(400, 60, (3, 160, 160)) + built * np.array([600, 450, 300])[:, None, None]
        key = folder / VEGAS / f"RGB-PanSharpen_AOI_2_Vegas_{tile}.tif"
        write_raster(key, pixels.astype(np.uint16), place, "EPSG:4326")
        write_areas(
            folder / VEGAS / f"buildings_AOI_2_Vegas_{tile}.geojson", roofs, {"HGT": [3] * len(roofs)}, "EPSG:4326"
        )
    with served(folder) as found:
        yield found


def test_the_quickstart_of_raster_vision(tmp_path: Path, bucket: Served) -> None:
    folder = clone(tmp_path / "project")
    file = folder / "examples/tiny_spacenet/tiny_spacenet.py"
    text = file.read_text(encoding="utf-8")
    assert f'"https://s3.amazonaws.com/{VEGAS}"' in text
    file.write_text(text.replace("https://s3.amazonaws.com", bucket.url), encoding="utf-8")
    call("quadrat configure examples/tiny_spacenet/tiny_spacenet.py --params params.yaml", folder)
    change(folder, QUICK)
    call("dvc repro", folder)
    assert {path.rpartition("/")[2] for path, _ in bucket.asked} == {
        f"{kind}_AOI_2_Vegas_{tile}.{ending}"
        for tile in ("img205", "img25")
        for kind, ending in (("RGB-PanSharpen", "tif"), ("buildings", "geojson"))
    }
    assert "img25.geojson is not on this machine" in (folder / "data/analysis/warnings.txt").read_text(encoding="utf-8")
    found = json.loads((folder / "metrics/eval.json").read_text(encoding="utf-8"))
    assert found["per_class"]["building"]["f1"] > 0.8
    assert (folder / "data/predictions/img25/buildings.parquet").is_file()
    assert "Running stage" not in call("dvc repro", folder)
