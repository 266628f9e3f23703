"""Label rasters to polygons, strip by strip, and how their outlines are drawn."""

from quadrat.polygons.outlines import Edges, Outlines, RightAngled, Simplified, filled
from quadrat.polygons.polygoniser import Polygoniser, Polygons

__all__ = ["Edges", "Outlines", "Polygoniser", "Polygons", "RightAngled", "Simplified", "filled"]
