"""GDAL is asked without rasterio, and says what rasterio says."""

import subprocess
import sys
from pathlib import Path

import pytest
import rasterio

from quadrat.runtime.cache import gdal


def test_the_version_is_the_one_that_rasterio_tells() -> None:
    assert gdal.gdal_version() == rasterio.__gdal_version__


def test_the_version_is_told_where_the_library_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gdal, "gdal", gdal.gdal.__wrapped__)
    monkeypatch.setattr(gdal, "EXTENSION_SUFFIXES", [".none"])
    assert gdal.gdal_version.__wrapped__() == rasterio.__gdal_version__


def test_rasterio_works_after_it_and_is_not_loaded_by_it(root: Path) -> None:
    code = """
import sys
from quadrat.runtime.cache.gdal import gdal_version
before = gdal_version()
assert "rasterio" not in sys.modules
import rasterio
from rasterio.io import MemoryFile
assert before == rasterio.__gdal_version__
with MemoryFile() as file, file.open(driver="GTiff", height=1, width=1, count=1, dtype="uint8") as dataset:
    assert dataset.crs is None
assert rasterio.crs.CRS.from_epsg(32633).is_projected
"""
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(root / "src")}, check=True)
