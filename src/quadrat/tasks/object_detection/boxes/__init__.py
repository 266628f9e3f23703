"""Upright boxes: how much they overlap, which of them stay, which find which, and what follows in figures."""

from quadrat.tasks.object_detection.boxes.cores import Cores
from quadrat.tasks.object_detection.boxes.counts import BoxCounts
from quadrat.tasks.object_detection.boxes.decoding import RECIPE, decoded
from quadrat.tasks.object_detection.boxes.detections import Detections
from quadrat.tasks.object_detection.boxes.matching import Seen, matched
from quadrat.tasks.object_detection.boxes.overlaps import Boxes, areas, centred, clipped, outlined, solid
from quadrat.tasks.object_detection.boxes.suppression import StreamingNMS, Suppression, suppressed

__all__ = [
    "RECIPE",
    "BoxCounts",
    "Boxes",
    "Cores",
    "Detections",
    "Seen",
    "StreamingNMS",
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
