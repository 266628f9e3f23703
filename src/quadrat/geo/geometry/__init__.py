"""Geometries between coordinate reference systems: reprojection, footprints, extents across 180°, accuracy."""
