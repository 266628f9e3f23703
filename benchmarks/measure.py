"""Run one measurement in this process: ``python -m benchmarks.measure floors.decode JOB RESULT``."""

import importlib
import io
import json
import sys
import warnings
from pathlib import Path

from benchmarks.job import Job
from quadrat.__main__ import settle

LOADED_LATE = (
    *("geopandas", "pandas", "pyarrow.parquet", "pyogrio", "pyproj", "scipy.special"),
    *("rasterio.features", "rasterio.shutil", "rasterio.vrt", "rasterio.warp"),
    *("quadrat.preflight.problems", "quadrat.preflight.survey", "quadrat.geo.reading.reader", "quadrat.labels.raster"),
    *("quadrat.geo.reading.open_image", "quadrat.prediction.cog", "quadrat.prediction.vector_file"),
)
"""What stages load where they need it: time and memory that imports take are not what is measured."""


def main() -> None:
    """Run it."""
    name, job, result = sys.argv[1:]
    warnings.filterwarnings("ignore")
    settle()
    for late in LOADED_LATE:
        importlib.import_module(late)
    _use()
    module, _, function = name.partition(".")
    found = getattr(importlib.import_module(f"benchmarks.{module}"), function)(Job.read(job))
    Path(result).write_text(json.dumps(found), encoding="utf-8")


def _use() -> None:
    """Write a table with a place on Earth: what libraries map of themselves when they are first used is no stage's."""
    import geopandas
    from shapely.geometry import box

    table = geopandas.GeoDataFrame({"number": [1]}, geometry=[box(500_000, 0, 500_010, 10)], crs=32633)
    table.to_crs(4326).to_parquet(io.BytesIO())


if __name__ == "__main__":
    main()
