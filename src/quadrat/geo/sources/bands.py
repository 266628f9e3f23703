"""The meaning of a band's values: unit, scale, offset and nodata."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadrat.runtime.formats.section import Section


class Band(Section):
    """What a value of a band means: ``value × scale + offset`` is in ``unit``; ``nodata`` (raw) is no value."""

    name: str
    dtype: str
    unit: str
    scale: float
    offset: float
    nodata: int | float | None
    date: str | None = None
    """The date in a time series; None if the image has no dates."""

    @property
    def blank(self) -> float | None:
        """The raw value of pixels without data: nodata, or NaN; None if the type has no such value."""
        return np.nan if self.nodata is None and self.dtype.startswith("float") else self.nodata


def names_of(bands: Sequence[Band]) -> tuple[str, ...]:
    """Return the bands' names in order, each once."""
    return tuple(dict.fromkeys(band.name for band in bands))


def dates_of(bands: Sequence[Band]) -> tuple[str, ...]:
    """Return the dates in order; empty if the image has none."""
    return tuple(dict.fromkeys(band.date for band in bands if band.date is not None))


def undated(bands: Sequence[Band]) -> tuple[Band, ...]:
    """Return the bands without dates, to compare series of different years."""
    return tuple(band.model_copy(update={"date": None}) for band in bands)


def storable(nodata: float | None, dtype: np.dtype[Any]) -> float | None:
    """Return ``nodata`` as a value of ``dtype``; None if the type can't hold it.

    It is an int if a float can't hold it: the largest 64-bit integer, which is meant by the float that it rounds to.
    """
    if nodata is None:
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            held = float(dtype.type(nodata))
        return held if np.isfinite(held) == np.isfinite(nodata) else None
    held_by = np.iinfo(dtype)
    if not math.isfinite(nodata) or nodata != int(nodata):
        return None
    whole = held_by.max if nodata == float(held_by.max) else int(nodata)
    if not held_by.min <= whole <= held_by.max:
        return None
    return float(whole) if int(float(whole)) == whole else whole


def is_valid(values: NDArray[Any], band: Band) -> NDArray[np.bool_]:
    """Return where ``values`` of ``band`` are neither its nodata nor NaN or infinite."""
    if values.dtype.kind in "iu":  # a float would round large values
        return np.ones(values.shape, np.bool_) if band.nodata is None else values != int(band.nodata)
    valid: NDArray[np.bool_] = np.isfinite(values)
    return valid if band.nodata is None else valid & (values != band.nodata)
