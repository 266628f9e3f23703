"""Features of a pixel for the forest: its raw bands, and each band's local mean."""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from quadrat.geo.sources.bands import is_valid
from quadrat.models.common.model import Inputs, Pixels

CUT = 1 << 12
"""Neighbourhoods cut out at once."""


def features(pixels: NDArray[Any], inputs: Inputs, radius: int) -> NDArray[np.float32]:
    """Return the raw bands, then their local means, (…, 2 band, y, x), of pixels (…, band, y, x).

    A local mean is over the valid values among the (2 radius + 1)² px around, within ``pixels``; 0 if there is none.
    Invalid raw values are 0 too.
    """
    return _features(*_padded(pixels, inputs, radius), radius)


def features_at(
    pixels: Pixels, places: tuple[NDArray[np.intp], ...], inputs: Inputs, radius: int
) -> NDArray[np.float32]:
    """Return the features (pixel, feature) only at ``places`` (chip, y, x), equal to those of whole chips."""
    square = (2 * radius + 1, 2 * radius + 1)
    values, valid = _padded(pixels, inputs, radius)
    values, valid = sliding_window_view(values, square, (-2, -1)), sliding_window_view(valid, square, (-2, -1))
    table = np.empty((len(places[0]), 2 * len(inputs.bands)), np.float32)
    for first in range(0, len(table), CUT):
        chip, y, x = (axis[first : first + CUT] for axis in places)
        near = _features(values[chip, :, y, x], valid[chip, :, y, x], radius)  # (pixel, feature, 1, 1)
        table[first : first + CUT] = near[..., 0, 0]
    return table


def _padded(pixels: NDArray[Any], inputs: Inputs, radius: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return values, 0 if not valid, and validity, both with a margin of ``radius`` invalid px."""
    with np.errstate(over="ignore"):  # values too large for float32 become infinite, which means no value
        values = pixels.astype(np.float32)
        valid = np.stack([is_valid(values[..., n, :, :], band) for n, band in enumerate(inputs.bands)], -3)
    np.copyto(values, 0, where=~valid)
    margin = [(0, 0)] * (pixels.ndim - 2) + [(radius, radius)] * 2
    return np.pad(values, margin), np.pad(valid, margin)


def _features(values: NDArray[np.float32], valid: NDArray[np.bool_], radius: int) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        means = _sum(values, radius) / np.maximum(_sum(valid.astype(np.float32), radius), 1)
    return np.concatenate([values[..., radius:-radius, radius:-radius], means], -3)


def _sum(values: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """Return the sums over (2 radius + 1)² px, added from left to right, then from top to bottom, as in ONNX."""
    for axis in (values.ndim - 1, values.ndim - 2):
        size = values.shape[axis] - 2 * radius
        shifted = [values[(slice(None),) * axis + (slice(k, k + size),)] for k in range(2 * radius + 1)]
        values = shifted[0].copy()
        for more in shifted[1:]:
            values += more
    return values
