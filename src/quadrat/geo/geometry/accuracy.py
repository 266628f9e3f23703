"""Accuracy of transformations between CRSs, and the missing grid files of better ones."""

import warnings
from collections.abc import Callable
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from quadrat.geo.grids.grid import Grid, system_of

if TYPE_CHECKING:
    from pyproj import CRS

Doubt = Callable[[], tuple[str, ...]]
"""Looks for possible problems and returns warnings; called only when they are reported, because it is slow."""

BALLPARK = "Ballpark geographic offset"
"""PROJ's name of a step that treats two datums as equal, because it knows no transformation."""

GEOCENTRIC = 6_378_137.0
"""Semi-major axes, m, of ellipsoids with geocentric datums, which differ only by metres."""

ONE = Lock()
"""Guards Python's warning filters, which all threads share."""

BESIDE = 0.5
"""Half the side, degrees, of the area around an image for which transformations are looked up."""


def doubtful_place(path: str, crs: Any, grid: Grid) -> tuple[str, ...]:
    """Return a warning if features of ``path`` in ``crs`` may be more than a px off on ``grid``.

    The reason is an unknown transformation between the datums, or the missing grid file of a better one.
    """
    from pyproj.exceptions import ProjError

    if crs is None or grid.crs is None or not grid.on_earth:
        return ()
    system, own = system_of(crs), system_of(grid.crs)
    if system.equals(own):
        return ()
    height, width = grid.shape
    try:
        off, why = _doubt(system, own, *_rounded(own, *(grid.transform @ (width / 2, height / 2))))
    except ProjError:  # no transformation: reported elsewhere
        return ()
    if off <= grid.gsd:
        return ()
    much = f"about {off:g} m" if np.isfinite(off) else "some 100 m"
    which = f"from {system.name} to {own.name}"
    return (f"{path} may lie {much} off on an image with pixels of {grid.gsd:.3g} m: {which} {why}",)


def _rounded(own: "CRS", x: float, y: float) -> tuple[float, float]:
    """Return a place's longitude and latitude in whole degrees, so that adjacent images share one look-up."""
    from pyproj import CRS, Transformer

    longitude, latitude = Transformer.from_crs(own, CRS.from_epsg(4326), always_xy=True).transform(x, y)
    return float(np.round(longitude)), float(np.round(latitude))


@lru_cache
def _doubt(crs: "CRS", own: "CRS", longitude: float, latitude: float) -> tuple[float, str]:
    """Return the avoidable error of the transformation around a place, in m, and its reason."""
    from pyproj import CRS, Transformer
    from pyproj.aoi import AreaOfInterest
    from pyproj.transformer import TransformerGroup

    if not np.isfinite([longitude, latitude]).all():
        return 0.0, ""
    there = Transformer.from_crs(CRS.from_epsg(4326), crs, always_xy=True).transform(longitude, latitude)
    way = Transformer.from_crs(crs, own, always_xy=True)
    if not np.isfinite(way.transform(*there)).all():
        return 0.0, ""
    used = way.get_last_used_operation()
    if BALLPARK in used.description:
        axes = [each.ellipsoid.semi_major_metre for each in (crs, own) if each.ellipsoid is not None]
        off = 0.0 if all(axis == GEOCENTRIC for axis in axes) else np.inf
        return off, "no transformation of the datum is known. Give the file the CRS of an EPSG code, or convert it"
    south, north = max(latitude - BESIDE, -90), min(latitude + BESIDE, 90)
    area: Any = AreaOfInterest(longitude - BESIDE, south, longitude + BESIDE, north)  # the type stub differs
    with ONE, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Best transformation is not available")  # this is what the code looks for
        missing = TransformerGroup(crs, own, always_xy=True, area_of_interest=area).unavailable_operations
    better = [each for each in missing if 0 <= each.accuracy < used.accuracy]
    if not better:
        return 0.0, ""
    best = min(better, key=lambda each: each.accuracy)
    files = ", ".join(grid.short_name for grid in best.grids if not grid.available)
    return used.accuracy, (
        f"PROJ lacks {files}, with which it would be {best.accuracy:g} m. Convert the file where PROJ has that "
        "(`PROJ_NETWORK=ON`)"
    )
