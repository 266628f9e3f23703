"""Arrays as PNG."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LEVEL = 1
"""Of compression: a tile is sent more often than it is made, but over fast lines."""


def indexed(numbers: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """Return numbers (y, x) of a ``palette`` (256, 4) of red, green, blue and opacity as PNG."""
    picture = Image.fromarray(np.ascontiguousarray(numbers))
    picture.putpalette(palette[:, :3].tobytes())
    return _written(picture, transparency=palette[:, 3].tobytes())


def coloured(pixels: NDArray[np.uint8]) -> bytes:
    """Return red, green, blue and opacity (4, y, x) as PNG."""
    return _written(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))))


def _written(picture: Image.Image, **options: bytes) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG", compress_level=LEVEL, **options)
    return buffer.getvalue()
