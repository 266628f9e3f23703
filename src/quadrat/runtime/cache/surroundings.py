"""What decides results beside files, parameters and code: settings in the environment, and PROJ's grid files."""

import os
import sys
from functools import cache
from importlib.util import find_spec
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
    """Return the folders in which PROJ looks for grid files: of wheels, of the system, of the user, and named ones."""
    wheels = [
        (find_spec(name), inside) for name, inside in (("pyproj", "proj_dir/share/proj"), ("rasterio", "proj_data"))
    ]
    own = os.environ.get("PROJ_USER_WRITABLE_DIRECTORY") or str(_user_folder())
    named = [own, *(os.environ.get(name, "") for name in ("PROJ_DATA", "PROJ_LIB"))]
    return [
        *(Path(spec.origin).parent / inside for spec, inside in wheels if spec and spec.origin),
        Path(sys.prefix) / "share" / "proj",
        *(Path(each) for some in named for each in some.split(os.pathsep) if each),
    ]


def _user_folder() -> Path:
    """Return where PROJ keeps what it fetches for a user."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", "")) / "proj"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "proj"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "proj"


def _is_grid(file: Path) -> bool:
    return file.suffix.lower() in GRIDS and file.is_file()
