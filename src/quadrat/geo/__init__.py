"""Grids and windows, geometries, and reading raster and vector files onto a grid."""
