"""What the page tells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quadrat.evaluation.adjusted_areas import Estimate
from quadrat.evaluation.areas import Areas
from quadrat.evaluation.intervals import Spread
from quadrat.evaluation.page.thumbnails import Thumbnail
from quadrat.evaluation.page.training import Training
from quadrat.evaluation.trust import Trust
from quadrat.runtime.provenance.origin import Origin
from quadrat.tasks.common.metrics import Counts, Metrics

if TYPE_CHECKING:
    from quadrat.tasks import Task


@dataclass(frozen=True)
class SceneContent:
    """A predicted scene."""

    id: str
    split: str
    summary: Metrics
    """Empty for a scene that is not scored."""
    areas: Areas | None
    """None for tasks without a raster of classes."""
    thumbnail: Thumbnail | None
    origin: Origin | None
    """That of its prediction; None if unknown."""


@dataclass(frozen=True)
class Content:
    """All that the page tells. Nothing of it depends on the machine, the time, or the number of workers."""

    task: "Task"
    metric: str
    """The headline metric."""
    split: str
    """Of the scenes that the metrics are of."""
    compared: Mapping[str, Counts]
    """The model first, then what it is compared with."""
    spread: Spread
    scenes: Sequence[SceneContent]
    estimate: Estimate | None
    """None for tasks without a raster of classes."""
    training: Training | None
    parameters: str
    """In YAML."""
    trust: Trust | None = None
    """None for tasks without a raster of classes, and where predictions don't say how sure they are."""
    polygons: Metrics = field(default_factory=dict)
    """Of given polygons; else empty."""
