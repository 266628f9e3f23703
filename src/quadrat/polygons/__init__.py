"""Label rasters to polygons, strip by strip."""

from quadrat.polygons.polygoniser import Polygoniser, Polygons

__all__ = ["Polygoniser", "Polygons"]
