"""Grids of pixels, the windows on them, and tiling: cutting windows out of strips and pasting them back."""
