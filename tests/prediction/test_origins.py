"""The origin of a scene's layers is that of the first file that has one, and files of other programs have none."""

from pathlib import Path

import numpy as np
import rasterio

from quadrat.prediction.origins import folder_origin
from quadrat.runtime.provenance.origin import tags, unknown
from tests.ground import write_raster


def test_the_first_file_with_an_origin_tells_it(tmp_path: Path) -> None:
    assert folder_origin(tmp_path / "missing") is None
    (tmp_path / "cells.parquet").write_bytes(b"damaged")
    (tmp_path / "notes.txt").write_text("of no kind")
    (tmp_path / "baseline").mkdir()
    write_raster(tmp_path / "labels.tif", np.zeros((1, 4, 4), np.uint8))
    assert folder_origin(tmp_path) is None
    with rasterio.open(tmp_path / "labels.tif", "r+") as dataset:
        dataset.update_tags(**tags(unknown("predict")))
    found = folder_origin(tmp_path)
    assert found is not None
    assert found.made_by == "predict"
    with rasterio.open(tmp_path / "labels.tif", "r+") as dataset:
        dataset.update_tags(QUADRAT_ORIGIN='{"made_by": "another program"}')
    assert folder_origin(tmp_path) is None
