"""Pixel regression: a value for every pixel."""
