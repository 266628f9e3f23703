"""Raster files: safe opening, headers, and errors."""
