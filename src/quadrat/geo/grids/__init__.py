"""Grids of pixels, windows on them, and tiling: cutting windows from strips and blending them where they overlap."""
