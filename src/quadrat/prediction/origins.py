"""Reads the origin that predict and apply store in layers."""

import json
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyogrio.errors import DataSourceError
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

from quadrat.errors import OriginError
from quadrat.geo.files.opening import open_raster
from quadrat.geo.vectors.vector_files import check_plain, information
from quadrat.runtime.provenance.origin import TAG, Origin, known

UNREADABLE = (
    OSError,
    KeyError,
    OriginError,
    RecursionError,
    TypeError,
    ValueError,
    pa.ArrowException,
    RasterioIOError,
    DataSourceError,
)
"""Errors of files without an origin."""

ENDINGS = (".tif", ".parquet", ".gpkg", ".fgb", ".geojson")


def folder_origin(folder: Path) -> Origin | None:
    """Return the origin of a scene's layers: that of the first file that has one; None if it is unknown."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix in ENDINGS:
            try:
                found = known(layer_content(path))
            except UNREADABLE:
                continue
            if found is not None:
                return found
    return None


def layer_content(path: Path) -> Any:
    """Return the JSON of the origin in a layer, by the file's ending; raise one of UNREADABLE if there is none."""
    check_plain(str(path))
    match path.suffix.lower():
        case ".tif" | ".tiff":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                with open_raster(str(path), OriginError) as dataset:
                    return json.loads(dataset.tags()[TAG])
        case ".parquet":
            return json.loads(pq.read_metadata(path).metadata[TAG.encode()])
        case _:
            about = information(str(path))["layer_metadata"] or {}
            if "DESCRIPTION" in about:  # GeoJSON has one text
                about = json.loads(about["DESCRIPTION"])
            return json.loads(about[TAG])
