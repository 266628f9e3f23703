"""Upright boxes: how much they overlap, which of them stay, which find which, and what follows in figures."""

from quadrat.boxes.cores import Cores
from quadrat.boxes.counts import BoxCounts
from quadrat.boxes.decoding import RECIPE, decoded
from quadrat.boxes.detections import IGNORED, Detections
from quadrat.boxes.matching import Seen, matched
from quadrat.boxes.overlaps import Boxes, areas, centred, clipped, outlined, solid
from quadrat.boxes.suppression import Sieve, Suppression, suppressed

__all__ = [
    "IGNORED",
    "RECIPE",
    "BoxCounts",
    "Boxes",
    "Cores",
    "Detections",
    "Seen",
    "Sieve",
    "Suppression",
    "areas",
    "centred",
    "clipped",
    "decoded",
    "matched",
    "outlined",
    "solid",
    "suppressed",
]
