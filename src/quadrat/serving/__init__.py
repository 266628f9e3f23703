"""Applies a bundle to new images, outside of the project that made it."""
