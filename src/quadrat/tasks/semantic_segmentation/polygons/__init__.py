"""Label rasters to polygons, strip by strip, and how their outlines are drawn."""

from quadrat.tasks.semantic_segmentation.polygons.outlines import Edges, Outline, RightAngled, Simplified, filled
from quadrat.tasks.semantic_segmentation.polygons.polygoniser import Polygoniser, Polygons

__all__ = ["Edges", "Outline", "Polygoniser", "Polygons", "RightAngled", "Simplified", "filled"]
