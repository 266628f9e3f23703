"""Scores of overlapping windows as layers: labels, and optionally scores, uncertainty and polygons."""

from quadrat.errors import ModelError
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.blended import BlendedCanvas
from quadrat.tasks.common.layers import TaskLayers
from quadrat.tasks.common.outputs import CONFIDENCE, PROMISE, SCORE_STEPS, SETS, RasterLayer, VectorLayer
from quadrat.tasks.semantic_segmentation.layers.decisions import SegmentationDecisions
from quadrat.tasks.semantic_segmentation.section import SegmentationLayers, SemanticSegmentation


class Layers(TaskLayers[SemanticSegmentation]):
    """The layers ``labels``, ``scores``, ``uncertainty``, ``confidence``, ``conformal`` and ``polygons``."""

    def written(self, section: SegmentationLayers) -> list[RasterLayer | VectorLayer]:
        """Return what predict writes for a scene."""
        written: list[RasterLayer | VectorLayer] = [
            RasterLayer("labels", "uint8", ("class",), IGNORE, classes=self.task.classes)
        ]
        if section.scores:
            written.append(RasterLayer("scores", "uint8", self.task.names, IGNORE, scale=1 / SCORE_STEPS))
        if section.uncertainty:
            written.append(RasterLayer("uncertainty", "uint8", (section.uncertainty,), IGNORE, scale=1 / SCORE_STEPS))
        if section.confidence:
            scale = 1 / SCORE_STEPS
            written.append(RasterLayer("confidence", "uint8", CONFIDENCE, IGNORE, scale, quick=True))
        if section.conformal:
            about = {PROMISE: f"{1 - section.conformal:.2f}"}
            written.append(RasterLayer(SETS, "uint8", (*self.task.names, "several"), IGNORE, quick=True, about=about))
        if section.polygons:
            written.append(VectorLayer("polygons", section.polygons, self.task.classes))
        return written

    def check(self, section: SegmentationLayers) -> None:
        """Raise ModelError for sets of classes of a model that has not learnt them."""
        if section.conformal and (self.calibration is None or self.calibration.least is None):
            raise ModelError(
                "the model doesn't know how probable the classes of a set are",
                expected="a model that was trained with labels on validation scenes, by a quadrat that knows sets",
                got=f"predict.layers.conformal: {section.conformal:g}",
                hint="label a scene of the split validation and train again, or set predict.layers.conformal to null",
            )

    def canvas(
        self, section: SegmentationLayers, area: Window, size: int, stride: int, shape: tuple[int, int]
    ) -> BlendedCanvas:
        """Return the canvas for windows of ``size`` px over ``area``."""
        return BlendedCanvas(self.decisions(section, area), area, size, stride)

    def decisions(self, section: SegmentationLayers, area: Window) -> SegmentationDecisions:
        """Return what decides of blended scores."""
        return SegmentationDecisions(self.task, section, area, self.calibration)

    def plain_stride(self, size: int, stride: int, context: int) -> int:
        """Return the largest stride at which every pixel has its ``context`` within some window."""
        return max(stride, size - 2 * context) if context else stride
