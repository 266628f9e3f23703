"""All sections of ``params.yaml`` and of the catalog by name, for Python files that compose them."""

from quadrat.evaluation.pictures import Pictures
from quadrat.geo.sources.source import Source
from quadrat.geo.vectors.widths import Width
from quadrat.labels.raster import RasterLabels
from quadrat.labels.stac import StacLabels
from quadrat.labels.vector import VectorLabels
from quadrat.models import Classifier, Detector, Forest, Network, Peaks, Train
from quadrat.models.common.model import Augment
from quadrat.models.detector.detector import FasterRcnn, Fcos, RetinaNet
from quadrat.params import Params
from quadrat.pipeline.analyze import Analyze
from quadrat.pipeline.bundle import Bundle
from quadrat.pipeline.chip import Chip, Random, Sliding
from quadrat.pipeline.eval import Eval
from quadrat.prediction.sliding_window import Predict
from quadrat.scenes.catalog import Catalog, SceneEntry
from quadrat.scenes.image import Clear, Image
from quadrat.tasks import ChipClassification, Class, ObjectDetection, SemanticSegmentation
from quadrat.tasks.chip_classification.cell_rule import Rule
from quadrat.tasks.chip_classification.task import CellLayers, ClassificationLoss
from quadrat.tasks.object_detection.boxes import Suppression
from quadrat.tasks.object_detection.task import DetectionLayers, DetectionLoss, DetectionMatch
from quadrat.tasks.semantic_segmentation.polygons import Edges, RightAngled, Simplified
from quadrat.tasks.semantic_segmentation.task import SegmentationLayers, SegmentationLoss

__all__ = [
    "Analyze",
    "Augment",
    "Bundle",
    "Catalog",
    "CellLayers",
    "Chip",
    "ChipClassification",
    "Class",
    "ClassificationLoss",
    "Classifier",
    "Clear",
    "DetectionLayers",
    "DetectionLoss",
    "DetectionMatch",
    "Detector",
    "Edges",
    "Eval",
    "FasterRcnn",
    "Fcos",
    "Forest",
    "Image",
    "Network",
    "ObjectDetection",
    "Params",
    "Peaks",
    "Pictures",
    "Predict",
    "Random",
    "RasterLabels",
    "RetinaNet",
    "RightAngled",
    "Rule",
    "SceneEntry",
    "SegmentationLayers",
    "SegmentationLoss",
    "SemanticSegmentation",
    "Simplified",
    "Sliding",
    "Source",
    "StacLabels",
    "Suppression",
    "Train",
    "VectorLabels",
    "Width",
]
