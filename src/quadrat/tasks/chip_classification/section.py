"""The sections of chip classification: one class, or any number of classes, for every cell."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from quadrat.runtime.formats.section import Section
from quadrat.tasks.common.classes import Unit
from quadrat.tasks.common.section import ClassWeights, LayersSection, TaskSection, WeightedLoss

HALF = 0.5
"""The score from which a class is predicted as present, if a cell may have several."""

LISTED = ", "
"""The separator of the names of a cell's classes."""


class Rule(Section):
    """How labels give a class to a cell. Only the part of a cell on the image counts.

    Polygons: a cell has a class if the class's polygons cover enough (``min_share``). A cell without a class has the
    labels' class ``background``; it is unknown if they name none, or if dropped features cover enough.

    Rasters: a cell has the most frequent class of its labelled pixels (of equals, the first), if at least ``min_share``
    of its pixels are labelled. With ``multi_label``, it has each class of at least ``min_share`` of its pixels.
    """

    share_of: Literal["polygon", "cell"]
    """``polygon``: enough of a polygon's own area is in the cell (what is in the cell?). ``cell``: the class's polygons
    together cover enough of the cell (what is the cell?)."""
    min_share: float = Field(gt=0, le=1)
    """The share that is enough, of the polygon's or the cell's area."""
    choose: Literal["largest", "lowest_id"]
    """If several classes fit: the one that covers most of the cell (of equals, the first), or the first."""


class ChipClassification(TaskSection):
    """One class or several for every cell, from polygons or rasters of classes.

    Of a cell at the image's edge, only the part on the image is counted, learnt and scored.
    """

    unit: ClassVar[Unit] = "cells"

    kind: Literal["chip_classification"]
    cell_size: int = Field(ge=1)
    """Height and width, px, of the square in a window's middle that is classified; the rest is context."""
    rule: Rule
    """How labels give a class to a cell."""
    multi_label: bool = False
    """Whether a cell may have several classes at once, or none."""

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        if len(self.classes) < 2 and not self.multi_label:
            raise ValueError("one class has no alternative: name another, or set multi_label")
        listed = [name for name in self.names if LISTED in name]
        if listed and self.multi_label:
            raise ValueError(
                f"the field 'class' lists a cell's classes with '{LISTED}' between them: "
                f"remove it from these names: {'; '.join(listed)}"
            )
        return self

    @property
    def exclusive(self) -> bool:
        """Whether a cell has exactly one class."""
        return not self.multi_label

    def labelled_size(self, window_size: int) -> int:
        """Return the cell's side, px."""
        return self.cell_size


class ClassificationLoss(WeightedLoss):
    """Cross-entropy over labelled cells; of several classes at once, the binary one of each that is known."""

    kind: Literal["chip_classification"]
    label_smoothing: float = Field(default=0, ge=0, lt=1)
    """Share of a cell's truth that is spread over all classes (with ``multi_label``: over yes and no)."""
    class_balance: float = Field(default=0, ge=0, le=1)
    """Classes are weighted by their share of the training labels to the power of minus this; 0 for no weights."""
    class_weights: ClassWeights | None = Field(default=None, min_length=1)
    """Weights of classes by name, in place of the balance; classes that are not named weigh 1."""


class CellLayers(LayersSection):
    """What predict writes."""

    kind: Literal["chip_classification"]
    cells: Literal["cells.parquet", "cells.gpkg", "cells.fgb", "cells.geojson"] = "cells.parquet"
    """The vector file of the cells; its ending gives the format."""
