"""Estimates the cost of reading a raster from its header: size, blocks, and number of values per byte of the file."""

import math
from typing import Any

import numpy as np

from quadrat.errors import QuadratError
from quadrat.geo.files.gdal import size
from quadrat.geo.sources.channel import gdal_name

SIDE = 1 << 22
"""Largest width and height, px: the Earth's equator at 10 m has 4,007,502."""

BANDS = 1 << 14
"""Most bands: forty years of days have 14,610."""

BLOCKS = 1 << 26
"""Most blocks of a band."""

HELD = 512 << 20
"""Largest memory per band for a row of blocks or a single block, bytes."""

LEAST_ROWS, MOST_ROWS = 64, 1024
"""Rows read at once if blocks have another height, px."""

VALUES = 1 << 31
"""Number of values of all bands that a file of any size may have."""

PER_BYTE = 2000
"""Most values that each byte of a larger one stands for: of one colour, deflate packs 1000, and 16 × 16 px of a block
that isn't there are told by 12 bytes."""


def check_size(dataset: Any, path: str, error: type[QuadratError], scene: str | None) -> None:
    """Raise ``error`` if an open raster is larger than can be read, or claims more values than its file can hold."""
    height, width = dataset.shape
    blocks, held, values = _costs(dataset)
    limits = [
        (max(height, width) > SIDE, f"at most {SIDE} px high and wide", f"{width} × {height} px", "cut it"),
        (dataset.count > BANDS, f"at most {BANDS} bands", f"{dataset.count}", "take those that are needed"),
        (blocks > BLOCKS, f"at most {BLOCKS} blocks", f"{blocks}", "give it larger blocks"),
        (
            held > HELD,
            f"blocks, and rows of blocks, of at most {HELD >> 20} MB per band",
            f"blocks of {dataset.block_shapes[0][1]} × {dataset.block_shapes[0][0]} px, {held >> 20} MB",
            "write it in tiles: gdal_translate -co TILED=YES …",
        ),
    ]
    for wrong, expected, got, hint in limits:
        if wrong:
            raise error("the image is too large", scene, path, expected=expected, got=got, hint=hint)
    if values <= VALUES:
        return
    there = sum(size(name) for name in dict.fromkeys([gdal_name(path), *dataset.files]))
    if values > there * PER_BYTE:
        raise error(
            "the image claims more pixels than its file can hold",
            scene,
            path,
            expected=f"at most {VALUES} values of all bands together, or {PER_BYTE} for each byte of the file",
            got=f"{width} × {height} px of {dataset.count} bands in {there} bytes",
            hint="cut it to where it has values (gdal_translate -srcwin …)",
        )


def _costs(dataset: Any) -> tuple[int, int, int]:
    """Return the number of blocks per band, the bytes needed to read a row of them, and the values of all bands."""
    height, width = dataset.shape
    rows, cols = dataset.block_shapes[0]
    across = math.ceil(width / cols)
    dtype = dataset.dtypes[0]
    bytes_each = 4 if dtype == "complex_int16" else np.dtype(dtype).itemsize
    strip = min(max(rows, LEAST_ROWS), MOST_ROWS, max(height, 1)) * across * cols
    held = max(rows * cols, strip) * bytes_each
    return across * math.ceil(height / rows), held, height * width * dataset.count
