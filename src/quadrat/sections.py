"""All sections of ``params.yaml`` and of the catalog by name, for Python files that compose them."""

from quadrat.catalog import Catalog, SceneEntry
from quadrat.inference import Predict
from quadrat.models import Forest, Network, Train
from quadrat.models.model import Augment
from quadrat.params import Params
from quadrat.pictures import Pictures
from quadrat.scenes.image import Image, Source
from quadrat.scenes.raster_labels import RasterLabels
from quadrat.scenes.vector_labels import VectorLabels
from quadrat.scenes.widths import Width
from quadrat.stages.analyze import Analyze
from quadrat.stages.bundle import Bundle
from quadrat.stages.chip import Chip, Random, Sliding
from quadrat.stages.eval import Eval
from quadrat.tasks import Class, SemanticSegmentation
from quadrat.tasks.semantic_segmentation import SegmentationLayers, SegmentationLoss

__all__ = [
    "Analyze",
    "Augment",
    "Bundle",
    "Catalog",
    "Chip",
    "Class",
    "Eval",
    "Forest",
    "Image",
    "Network",
    "Params",
    "Pictures",
    "Predict",
    "Random",
    "RasterLabels",
    "SceneEntry",
    "SegmentationLayers",
    "SegmentationLoss",
    "SemanticSegmentation",
    "Sliding",
    "Source",
    "Train",
    "VectorLabels",
    "Width",
]
