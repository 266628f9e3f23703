"""Grids of pixels, windows on them, and tiling: cutting windows from strips and pasting them back."""
