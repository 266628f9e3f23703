"""The sections of chip classification: a class for every cell, or for each class whether the cell has it."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from quadrat.runtime.formats.section import Section
from quadrat.tasks.common.classes import Unit
from quadrat.tasks.common.section import LayersSection, TaskSection

HALF = 0.5
"""The least score by which one of several classes is predicted to be there."""

LISTED = ", "
"""What stands between the names of a cell's classes."""


class Rule(Section):
    """When labels give a cell a class: what of it lies on the image.

    Polygons: a class claims the cell by enough of its polygons' area. What none claims is of the labels' class
    ``background``, or unknown where they name none, and where dropped features claim it.

    Rasters: a cell is of the class that most of its labelled pixels have (of equals, the first), if at least
    ``min_share`` of its pixels are labelled. Where a cell may have several classes, each class claims it that at
    least ``min_share`` of its pixels have.
    """

    share_of: Literal["polygon", "cell"]
    """A polygon claims the cell in which enough of its own area lies (things: what is in the cell?), or a class claims
    the cell of which its polygons together cover enough (cover: what is the cell?)."""
    min_share: float = Field(gt=0, le=1)
    """How much is enough, of the polygon's or of the cell's area."""
    choose: Literal["largest", "lowest_id"]
    """Of several classes that claim a cell: the one that covers most of it (of equals, the first), or the first."""


class ChipClassification(TaskSection):
    """A class for every cell, or several, from polygons or from rasters of classes.

    A cell that the image's edge cuts is what of it lies on the image, in all that is counted, taught and scored.
    """

    unit: ClassVar[Unit] = "cells"

    kind: Literal["chip_classification"]
    cell_size: int = Field(ge=1)
    """Height and width, px, of the square in a window's middle that is classified; what lies around is context."""
    rule: Rule
    """When labels give a cell their class."""
    multi_label: bool = False
    """Whether a cell may have several classes at once, or none."""

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        if len(self.classes) < 2 and not self.multi_label:
            raise ValueError("a cell of one class has nothing to be told from: name another, or set multi_label")
        listed = [name for name in self.names if LISTED in name]
        if listed and self.multi_label:
            raise ValueError(
                f"the field 'class' lists a cell's classes with '{LISTED}' between them: "
                f"write names without it, where these have it: {'; '.join(listed)}"
            )
        return self

    @property
    def exclusive(self) -> bool:
        """Whether a cell has one class alone."""
        return not self.multi_label

    def labelled_size(self, window_size: int) -> int:
        """Return the cell's side, px."""
        return self.cell_size


class ClassificationLoss(Section):
    """Cross-entropy over labelled cells; of several classes at once, the binary one of each that is known."""

    kind: Literal["chip_classification"]
    label_smoothing: float = Field(default=0, ge=0, lt=1)
    """Share of a cell's truth that is spread over all classes (for several at once: over yes and no)."""
    class_balance: float = Field(default=0, ge=0, le=1)
    """Each class is weighted by its share of the training labels to the power of minus this: 0 is no weights."""


class CellLayers(LayersSection):
    """What predict writes."""

    kind: Literal["chip_classification"]
    cells: Literal["cells.parquet", "cells.gpkg", "cells.fgb", "cells.geojson"] = "cells.parquet"
    """The vector file of the cells, whose ending is its format."""
