"""Pixels and places: grids and windows, geometries, and how raster and vector files are read onto a grid."""
