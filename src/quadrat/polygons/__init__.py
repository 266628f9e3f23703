"""Label rasters to polygons, strip by strip, and how their outlines are drawn."""

from quadrat.polygons.outlines import Edges, Outline, RightAngled, Simplified, filled
from quadrat.polygons.polygoniser import Polygoniser, Polygons

__all__ = ["Edges", "Outline", "Polygoniser", "Polygons", "RightAngled", "Simplified", "filled"]
