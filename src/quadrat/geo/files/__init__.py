"""Raster files: opening them safely, reading their headers, and telling their errors in words."""
