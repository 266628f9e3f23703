"""The sections of semantic segmentation: a class for every pixel."""

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.runtime.formats.section import Name, Section
from quadrat.tasks.common.classes import Class, Unit
from quadrat.tasks.common.section import ClassWeights, LayersSection, TaskSection, WeightedLoss

POLYGONS = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,99}\.(parquet|gpkg|fgb|geojson)")
"""Names of vector files; ``quadrat.prediction.vector_file`` writes these formats."""

LEAST_TOLERANCE = 0.5
"""Px; below it, outlines along pixel edges have no corner to spare."""


class SemanticSegmentation(TaskSection):
    """A class for every pixel, from areas or from rasters of classes."""

    unit: ClassVar[Unit] = "px"

    kind: Literal["semantic_segmentation"]
    classes: tuple[Class, ...] = Field(min_length=2, max_length=IGNORE)
    """The classes, in the order of their ids, from 0."""
    all_touched: bool = False
    """Label every pixel that an area touches, not only those whose centre it covers."""


class SegmentationLoss(WeightedLoss):
    """Cross-entropy plus ``dice`` times the Dice loss, over labelled pixels."""

    kind: Literal["semantic_segmentation"]
    dice: float = Field(default=0, ge=0)
    """Weight of the Dice loss; 0 for cross-entropy only."""
    label_smoothing: float = Field(default=0, ge=0, lt=1)
    """Share of a pixel's truth that cross-entropy spreads over all classes."""
    class_balance: float = Field(default=0, ge=0, le=1)
    """Classes are weighted by their share of the training pixels to the power of minus this; 0 for no weights."""
    class_weights: ClassWeights | None = Field(default=None, min_length=1)
    """Weights of classes by name, in place of the balance; classes that are not named weigh 1."""


class Edges(Section):
    """Along pixel edges: polygons rasterise to the same labels, and neighbours share their borders."""

    kind: Literal["edges"]


class Simplified(Section):
    """With fewer corners; small polygons keep more corners than the tolerance requires.

    Each polygon is simplified by itself, so neighbours may overlap or leave a gap.
    """

    kind: Literal["simplified"]
    tolerance: float = Field(ge=LEAST_TOLERANCE)
    """Largest distance of a removed corner from the outline, px; near a ring's first corner, twice that."""


class RightAngled(Section):
    """With right angles only, for buildings; a polygon that they do not fit is simplified.

    Each polygon is drawn by itself, so neighbours may overlap or leave a gap.
    """

    kind: Literal["right_angled"]
    tolerance: float = Field(ge=1)
    """Largest distance of the outline from pixel edges, px; shorter walls are left out."""


Outline = Annotated[Edges | Simplified | RightAngled, Field(discriminator="kind")]
"""How the outlines of polygons are drawn."""


class SegmentationLayers(LayersSection):
    """The layers that predict writes beside ``labels.tif``."""

    kind: Literal["semantic_segmentation"]
    scores: bool = False
    """Write ``scores.tif``: a band with the probability of each class."""
    uncertainty: Literal["margin", "entropy"] | None = None
    """Write ``uncertainty.tif``: how doubtful each pixel is, from 0 to 1. ``margin`` is 1 minus the difference between
    the two largest probabilities; ``entropy`` that of all probabilities, divided by the largest possible. Null for
    none."""
    confidence: bool = False
    """Write ``confidence.tif``: the probability of each pixel's label, and as a second band the same before the model's
    calibration. Eval needs it to say how far probabilities can be trusted."""
    conformal: float | None = Field(default=None, ge=0.01, le=0.5)
    """Write ``conformal.tif``: for each class a band, 1 where it is in the set of classes that holds the truth in all
    but this share of each class's pixels, 0 elsewhere; and the band ``several``, 1 where the set has more than one
    class. A share in whole percent, such as 0.1; null for none. See [eval](pipeline.md#eval)."""
    polygons: str | None = None
    """Name of the vector file of the predicted areas, with the ending of a format; null for none."""
    min_pixels: int = Field(default=1, ge=1)
    """Smallest area, in px, that becomes a polygon."""
    polygon_classes: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    """Classes whose areas become polygons; null for all."""
    max_hole_pixels: int = Field(default=0, ge=0)
    """Largest hole of a polygon that is filled, px; 0 fills none. The raster does not change."""
    outlines: Outline = Edges(kind="edges")
    """How the outlines of polygons are drawn."""

    @field_validator("conformal")
    @classmethod
    def _check_conformal(cls, conformal: float | None) -> float | None:
        if conformal is not None and abs(100 * conformal - round(100 * conformal)) > 1e-6:
            raise ValueError("conformal is a share in whole percent, from 0.01 to 0.5, such as 0.1")
        return conformal

    @field_validator("polygons")
    @classmethod
    def _check_polygons(cls, polygons: str | None) -> str | None:
        if polygons is not None and not POLYGONS.fullmatch(polygons):
            raise ValueError("polygons is the name of a file that ends in .parquet, .gpkg, .fgb or .geojson, or null")
        if polygons is not None and re.fullmatch(r"labels\.(parquet|fgb|geojson)", polygons):
            raise ValueError("polygons can't be called labels: QGIS would draw them in the style of labels.tif")
        return polygons

    def plain(self) -> Self:
        """Return the section with labels only."""
        none = {"scores": False, "uncertainty": None, "confidence": False, "conformal": None, "polygons": None}
        return self.model_copy(update=none)

    def full(self) -> Self:
        """Return the section with all layers but polygons that it doesn't have."""
        every = {"scores": True, "uncertainty": "margin", "confidence": True, "conformal": 0.1}
        return self.model_copy(update=every)

    def shown(self) -> Self:
        """Return the section with all rasters, and no polygons."""
        rasters = {"scores": True, "uncertainty": self.uncertainty or "margin", "polygons": None}
        return self.model_copy(update=rasters)

    def named(self) -> tuple[str, ...]:
        """Return the classes of polygons."""
        return self.polygon_classes or ()
