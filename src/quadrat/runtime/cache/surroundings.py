"""What decides results beside files, parameters and code: settings in the environment, and PROJ's grid files."""

import os
from functools import cache
from pathlib import Path
from typing import Any

SETTINGS = (
    "GDAL_GEOREF_SOURCES",
    "GDAL_PAM_ENABLED",
    "GTIFF_POINT_GEO_IGNORE",
    "GTIFF_SRS_SOURCE",
    "OGR_ORGANIZE_POLYGONS",
    "OSR_USE_NON_DEPRECATED",
    "PROJ_NETWORK",
    "PROJ_ONLY_BEST_DEFAULT",
)
"""Settings of GDAL and PROJ by which the same file lies elsewhere, or holds something else."""

GRIDS = (".tif", ".gtx", ".gsb")
"""Endings of grid files, by which coordinates are brought to another datum to centimetres instead of metres."""


@cache
def surroundings() -> dict[str, Any]:
    """Return settings that are made, and the grid files by name, with their size; nothing of a plain installation."""
    found: dict[str, Any] = {name: os.environ[name] for name in SETTINGS if os.environ.get(name)}
    grids = {file.name: file.stat().st_size for folder in _folders() for file in folder.glob("*") if _is_grid(file)}
    return found | ({"grids": grids} if grids else {})


def _folders() -> list[Path]:
    """Return the folders in which PROJ looks for grid files."""
    from pyproj import datadir

    own = datadir.get_user_data_dir()  # type: ignore[attr-defined]  # it is documented, but imported there
    named = (datadir.get_data_dir(), own, *map(os.environ.get, ("PROJ_DATA", "PROJ_LIB")))
    return [Path(each) for some in named if some for each in some.split(os.pathsep)]


def _is_grid(file: Path) -> bool:
    return file.suffix.lower() in GRIDS
