"""Shifts mosaics by multiples of 360° to the longitudes of the grid that they are resampled to."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform as warp_transform

from quadrat.errors import ImageError
from quadrat.geo.geometry.extents import LATTICE, SLACK, period, surroundings
from quadrat.geo.grids.grid import SHIFT, Grid, system_of
from quadrat.geo.reading.mosaic import Mosaic
from quadrat.geo.reading.reader import TOLERANCE

KERNEL = 4
"""Margin for resampling, px of the coarser grid."""

MERIDIAN = re.compile(r'PRIMEM\["[^"]*",([^,\]]*)(,AUTHORITY\[[^\]]*\])?\]')

Span = tuple[float, float]
"""West and east, in x of a CRS."""


def turn_of(crs: CRS | None) -> float:
    """Return the distance in x after which a CRS repeats itself; 0 if it does not."""
    return 0.0 if crs is None else period(system_of(crs))


def towards(mosaic: Mosaic, grid: Grid) -> Mosaic:
    """Return the mosaic with its files shifted by multiples of 360° to the grid, some to both sides of it.

    Returns the mosaic itself if GDAL already finds all its pixels. Raises ImageError if pixels would be lost, because
    360° is not a whole number of pixels, or the CRS can't be shifted.
    """
    own = mosaic.grid
    turn = turn_of(own.crs)
    extent = _extent(own, grid, turn) if turn else None
    if extent is None:
        return mosaic
    west, centre, east = extent
    same, px = own.crs == grid.crs, math.hypot(own.transform.a, own.transform.b)
    spans = [_span(header.grid) for header in mosaic.headers]
    needed = [_turns(span, (west, east), turn, SLACK * px) for span in spans]
    every = {number for numbers in needed for number in numbers}
    within = max(-west, east) <= turn / 2 + SLACK * px
    if not every or (every == {0} and (same or within)):
        return mosaic
    found = not same and not _lenient(grid) and all(_within(span, turn, SLACK * px) for span in spans)
    if found and len(every) == 1:
        return mosaic
    column, row = (~own.transform).a * turn, (~own.transform).d * turn
    steps = round(row), round(column)
    even = math.hypot(row - steps[0], column - steps[1]) <= SHIFT
    degrees = 0 if same else round(centre * 360 / turn)
    crs = own.crs if same else _turned(own, grid, degrees, turn)
    if crs is None or (len(every) > 1 and not even):
        if found:
            return mosaic
        raise _torn(mosaic, turn / px, fixed=crs is None)
    if even:
        reach = KERNEL * max(px, (east - west) / grid.shape[1])
        needed = [_turns(span, (west - reach, east + reach), turn, 0) for span in spans]
    return _placed(replace(mosaic, grid=replace(own, crs=crs)), needed, steps, (turn, degrees * turn / 360))


def _extent(own: Grid, grid: Grid, turn: float) -> tuple[float, float, float] | None:
    """Return x in ``own`` of the west, the middle and the east of ``grid``; None if they are outside its CRS.

    The middle is between -180° and 180°, except on a grid of longitudes, where it keeps its value.
    """
    found, there = surroundings(grid, own.crs), turn_of(grid.crs)
    west, _, east, _ = found.bounds
    centre = found.centre
    if not math.isfinite(west):
        return None
    if own.crs == grid.crs:
        return west, centre, east
    near = (grid.transform @ (grid.shape[1] / 2, grid.shape[0] / 2))[0] * turn / there if _lenient(grid) else 0.0
    moved = turn * round((near - centre) / turn)
    west, centre, east = west + moved, centre + moved, east + moved
    if not there:
        bend = (east - west) / LATTICE  # edges are bent between the points
        west, east = west - bend, east + bend
        if east - west > turn / 2:  # around a pole
            west, east = min(west, centre - turn / 2), max(east, centre + turn / 2)
    return west, centre, east


def _lenient(grid: Grid) -> bool:
    """Return whether the grid has longitudes, because PROJ wraps only some values beyond 180°."""
    return grid.crs is not None and bool(grid.crs.is_geographic)


def _span(grid: Grid) -> Span:
    west, _, east, _ = grid.footprint(grid.area).bounds
    return west, east


def _turns(span: Span, within: Span, turn: float, slack: float) -> range:
    """Return the shifts to the east, in turns, after which ``span`` overlaps by more than ``slack``."""
    first = math.ceil((within[0] - span[1] + slack) / turn)
    return range(first, math.floor((within[1] - span[0] - slack) / turn) + 1)


def _within(span: Span, turn: float, slack: float) -> bool:
    """Return whether all of a file is between -180° and 180°, where PROJ finds it."""
    west, east = span[0] < -turn / 2 - slack, span[1] > turn / 2 + slack
    reaches_west, reaches_east = span[0] <= -turn / 2 + slack, span[1] >= turn / 2 - slack
    return (not west or reaches_east) and (not east or reaches_west)


def _turned(own: Grid, grid: Grid, degrees: int, turn: float) -> CRS | None:
    """Return the CRS with its longitudes starting at ``degrees``; None if it would change in other ways."""
    crs: Any = own.crs
    if not crs.is_geographic:
        return None
    try:
        text = crs.to_wkt(version="WKT1_GDAL")
        text = MERIDIAN.sub(lambda found: f'PRIMEM["turned",{float(found[1]) + degrees!r}]', text)
        turned = CRS.from_wkt(re.sub(r',AUTHORITY\["[^"]*","[^"]*"\]\]$', "]", text))
        height, width = grid.shape
        pixels: Any = tuple(v.ravel() for v in np.meshgrid(np.linspace(0, width, 5), np.linspace(0, height, 5)))
        points = grid.transform @ pixels
        before, after = (np.array(warp_transform(grid.crs, to, *points)) for to in (crs, turned))
    except CRSError:
        return None
    after[0] += degrees * turn / 360
    with np.errstate(invalid="ignore"):
        apart = after - before
        apart[0] -= turn * np.round(apart[0] / turn)
    apart = apart[:, np.isfinite(before).all(0)]
    into = np.array([[(~own.transform).a, (~own.transform).b], [(~own.transform).d, (~own.transform).e]])
    return turned if bool((np.abs(into @ apart) < TOLERANCE).all()) else None


def _placed(mosaic: Mosaic, turns: Sequence[range], steps: tuple[int, int], distances: tuple[float, float]) -> Mosaic:
    """Return the mosaic with each file at all its shifts ``turns`` ((row, col) px), counted from another meridian."""
    turn, meridian = distances
    first = min(number for numbers in turns for number in numbers)
    places = [
        tuple(
            (row + (number - first) * steps[0], col + (number - first) * steps[1])
            for number in numbers
            for row, col in some
        )
        for some, numbers in zip(mosaic.places, turns, strict=True)
    ]
    sized = [(place, h.grid.shape) for h, some in zip(mosaic.headers, places, strict=True) for place in some]
    top, left = (min(place[axis] for place, _ in sized) for axis in (0, 1))
    bottom, right = (max(place[axis] + shape[axis] for place, shape in sized) for axis in (0, 1))
    moved = Affine.translation(first * turn - meridian, 0) @ mosaic.grid.transform @ Affine.translation(left, top)
    return Mosaic(
        mosaic.headers,
        Grid(mosaic.grid.crs, moved, (bottom - top, right - left)),
        tuple(tuple((row - top, col - left) for row, col in some) for some in places),
    )


def _torn(mosaic: Mosaic, around: float, *, fixed: bool) -> ImageError:
    crs = "no CRS" if mosaic.grid.crs is None else mosaic.grid.crs.to_string()
    return ImageError(
        "the image's grid crosses the meridian where the file's longitudes or eastings wrap around",
        file=mosaic.headers[0].path,
        expected="a CRS of longitude and latitude" if fixed else "a whole number of the file's pixels in 360°",
        got=crs if fixed else f"{around:.10g} px",
        hint="warp the file to the image's grid (gdalwarp -t_srs … -te … -tr …)",
    )
