"""How pixels of one grid are brought to another."""

from typing import Literal

ResamplingName = Literal["nearest", "bilinear", "cubic", "average"]
"""As rasterio calls them."""
