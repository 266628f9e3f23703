"""Finds values that count but look like nodata."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadrat.errors import ImageError
from quadrat.geo.sources.bands import Band
from quadrat.scenes.scene import Scene

USUAL = frozenset((-9999.0, -99999.0, -999999.0, -32768.0, -2147483648.0, 1e20, -1e20))
"""Values that often mean nodata."""

VAST = 1e30
"""Floats at least this far from 0 mostly mean nodata."""

ROUNDING = 1e-6
"""Relative difference of values that are equal but for rounding."""

LARGEST = float(np.finfo(np.float32).max)
"""The largest value of float32."""

Fills = Counter[tuple[int, float]]
"""Number of px of each band with a value that looks like nodata."""


def fills(values: NDArray[Any], scene: Scene, bands: Sequence[Band], place: int) -> Fills:
    """Count the valid ``values`` (any shape) of the band at ``place`` that look like nodata.

    It examines the least and the largest value. Raises ImageError for values that float32 can't hold.
    """
    found, band = Fills(), bands[place]
    if not values.size or not may_fill(band):
        return found
    for value in {values.min().item(), values.max().item()}:
        if values.dtype.kind == "f" and abs(value) > LARGEST:
            raise ImageError(
                f"band {band.name} has values that float32, and so a network, can't hold",
                file=_file_of(scene, bands, place),
                expected=f"at most {LARGEST:.8g}",
                got=value,
                hint="if that stands for none, say so by 'nodata' of the source in the catalog; else scale the band",
            )
        if _suspect(value, band):
            found[place, value] = int(np.count_nonzero(values == value))
    return found


def may_fill(band: Band) -> bool:
    """Return whether values of the band's type may look like nodata; all values of bytes are plausible."""
    dtype = np.dtype(band.dtype)
    return dtype.kind == "f" or dtype.itemsize > 2 or (dtype.kind == "i" and dtype.itemsize == 2)


def _suspect(value: float, band: Band) -> bool:
    dtype = np.dtype(band.dtype)
    near = band.nodata is not None and abs(value - band.nodata) <= ROUNDING * abs(band.nodata)
    if dtype.kind == "f":
        return near or value in USUAL or abs(value) >= VAST
    bounds = np.iinfo(dtype)
    if _alike(value, band.nodata):
        return True
    return value in USUAL or value == bounds.min < 0 or (dtype.itemsize > 2 and value == bounds.max)


def _alike(value: float, nodata: float | None) -> bool:
    """Return whether a network, which computes in float32, can't tell a value from nodata."""
    return nodata is not None and np.float32(value) == np.float32(nodata)


def fill_warnings(scene: Scene, bands: Sequence[Band], found: Fills) -> Iterator[str]:
    """Yield a warning for each value of a file that looks like nodata."""
    groups: dict[tuple[str, float], list[int]] = {}
    for place, value in sorted(found):
        groups.setdefault((_file_of(scene, bands, place), value), []).append(place)
    for (file, value), places in groups.items():
        names = ", ".join(dict.fromkeys(bands[place].name for place in places))
        pixels = sum(found[place, value] for place in places)
        nodata = bands[places[0]].nodata
        known = "no nodata value is known" if nodata is None else f"nodata is {nodata}"
        known += ", which a network takes it for" if _alike(value, nodata) else ""
        hint = "" if nodata is None else ", and 'ignore_tags: true' where the file says otherwise"
        yield (
            f"scene {scene.id}: {pixels} px of {names} in {file} are {value}, and count ({known}): if that stands for "
            f"no value, say so by 'nodata: {value}' of the source in the catalog{hint}"
        )


def _file_of(scene: Scene, bands: Sequence[Band], place: int) -> str:
    band = bands[place]
    return next(c.files[0] for c in scene.image.channels([band.name]) if c.date == band.date)
