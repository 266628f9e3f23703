"""The sections of pixel regression: a value for every pixel."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from quadrat.runtime.formats.section import Section
from quadrat.tasks.common.classes import Class, Unit
from quadrat.tasks.common.section import LayersSection, TaskSection


class PixelRegression(TaskSection):
    """A value for every pixel, such as a height or a share, from rasters of values (``values: numbers`` of labels)."""

    unit: ClassVar[Unit] = "values"

    kind: Literal["pixel_regression"]
    classes: tuple[Class, ...] = Field(min_length=1, max_length=1)
    """One class: the name of the measured quantity, and the colour of its largest values in pictures."""
    range: tuple[float, float]
    """A low and a high value, which the network represents as 0 and 1, and which bound the colours of pictures. Labels
    and predictions may be outside."""

    @field_validator("range")
    @classmethod
    def _check_range(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if not limits[0] < limits[1]:
            raise ValueError("range takes two values, the lower one first")
        return limits


class RegressionLoss(Section):
    """The smooth L1 loss (Girshick 2015) over labelled pixels."""

    kind: Literal["pixel_regression"]
    beta: float = Field(default=0.1, ge=0)
    """Error, as a share of the task's range, below which the loss is quadratic; 0 is the absolute error."""


class RegressionLayers(LayersSection):
    """The layer that predict writes: ``values.tif``."""

    kind: Literal["pixel_regression"]
