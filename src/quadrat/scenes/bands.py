"""What the values of a band mean, and which of them are none."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadrat.section import Section


class Band(Section):
    """What a value of a band means: ``value × scale + offset`` is in ``unit``; ``nodata`` (raw) is no value."""

    name: str
    dtype: str
    unit: str
    scale: float
    offset: float
    nodata: float | None


def storable(nodata: float | None, dtype: np.dtype[Any]) -> float | None:
    """Return ``nodata`` as ``dtype`` holds it; None where no pixel can be it, so that nothing is taken for it."""
    if nodata is None:
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            held = float(dtype.type(nodata))
        return held if np.isfinite(held) == np.isfinite(nodata) else None
    held_by = np.iinfo(dtype)
    whole = np.isfinite(nodata) and nodata == int(nodata)
    return float(nodata) if whole and held_by.min <= nodata <= held_by.max else None


def is_valid(values: NDArray[Any], band: Band) -> NDArray[np.bool_]:
    """Return where ``values`` of ``band`` are neither its nodata nor NaN or infinite."""
    valid = np.ones(values.shape, np.bool_) if band.nodata is None else values != band.nodata
    return valid & np.isfinite(values) if values.dtype.kind == "f" else valid
