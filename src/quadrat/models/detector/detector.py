"""Networks for boxes: a detector of torchvision over a feature pyramid and an encoder of timm."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from quadrat.models.common.encoders import Encoder
from quadrat.models.common.model import Inputs
from quadrat.models.training.neural import Encoded
from quadrat.runtime.formats.section import Section
from quadrat.tasks.common.classes import Unit
from quadrat.tasks.common.section import TaskSection

if TYPE_CHECKING:
    from quadrat.models.common.trainable import TrainableModule
    from quadrat.models.detector.pyramid import Pyramid

Positive = Annotated[float, Field(gt=0)]

ANCHORS = 32
"""Largest number of anchor sizes, and of shapes."""


class Fcos(Section):
    """FCOS: each location predicts the distances to its object's four sides. It has no anchors."""

    kind: Literal["fcos"]

    def assemble(self, pyramid: "Pyramid", inputs: Inputs, classes: int, depth: int) -> "TrainableModule":
        """Return the network."""
        from quadrat.models.detector.one_stage import Fcos as FcosNetwork

        return FcosNetwork(pyramid, inputs, classes, depth)


class RetinaNet(Section):
    """RetinaNet: each location adjusts boxes of a few sizes and shapes, the anchors."""

    kind: Literal["retinanet"]
    scales: tuple[Positive, ...] = Field(min_length=1, max_length=ANCHORS)
    """Sizes of anchors, √(width × height), in strides."""
    ratios: tuple[Positive, ...] = Field(min_length=1, max_length=ANCHORS)
    """Shapes of anchors, height / width; each size is combined with each shape."""

    def assemble(self, pyramid: "Pyramid", inputs: Inputs, classes: int, depth: int) -> "TrainableModule":
        """Return the network."""
        from quadrat.models.detector.one_stage import RetinaNet as RetinaNetwork

        return RetinaNetwork(pyramid, inputs, classes, depth, self.scales, self.ratios)


class FasterRcnn(Section):
    """Faster R-CNN: anchors give proposals, and a second network classifies the best ones."""

    kind: Literal["faster_rcnn"]
    scales: tuple[Positive, ...] = Field(min_length=1, max_length=ANCHORS)
    """As RetinaNet's."""
    ratios: tuple[Positive, ...] = Field(min_length=1, max_length=ANCHORS)
    """As RetinaNet's."""
    proposals: int = Field(ge=1, le=2000)
    """Number of proposals per window; more than a window can hold objects."""

    def assemble(self, pyramid: "Pyramid", inputs: Inputs, classes: int, depth: int) -> "TrainableModule":
        """Return the network."""
        from quadrat.models.detector.two_stage import FasterRcnn as FasterRcnnNetwork

        return FasterRcnnNetwork(pyramid, inputs, classes, depth, self.scales, self.ratios, self.proposals)


class Detector(Encoded):
    """A network that finds objects as boxes."""

    units: ClassVar[frozenset[Unit]] = frozenset({"boxes"})

    kind: Literal["detector"]
    architecture: Annotated[Fcos | RetinaNet | FasterRcnn, Field(discriminator="kind")]
    """How boxes are found."""
    hint: ClassVar[str] = "choose another model.encoder, or other model.strides"

    encoder: str
    """Name of a timm model; ``timm.list_models()`` lists them."""
    strides: tuple[int, ...] = Field(min_length=1, max_length=8)
    """Px between locations at each level, each twice the one before. The finest limits which neighbours can be
    separated, and sets the cost. The encoder must have it (most have 4); coarser levels than its last are added."""
    channels: int = Field(ge=16, multiple_of=16)
    """Channels of the feature pyramid and of the heads."""
    depth: int = Field(ge=1, le=4)
    """Number of convolutions of a head before its last."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        doubled = [self.strides[0] << number for number in range(len(self.strides))]
        if self.strides[0] not in (1, 2, 4, 8, 16, 32) or list(self.strides) != doubled:
            raise ValueError(f"strides double from a power of 2 on, such as 4, 8, 16: {list(self.strides)}")
        return self

    @property
    def divisor(self) -> int:
        """Windows' sides must be multiples of the coarsest stride, px."""
        return self.strides[-1]

    def assemble(self, task: TaskSection, inputs: Inputs, encoder: Encoder) -> "TrainableModule":
        """Return the untrained network: scores (chip, location, class) and boxes (chip, location, 4)."""
        from quadrat.models.common.dates import Pooled
        from quadrat.models.detector.pyramid import Pyramid

        pyramid = Pyramid(encoder, len(inputs.statistics), self.strides, self.channels)
        inner = pyramid.encoder
        if self.dates:
            pyramid.encoder = Pooled(pyramid.encoder, pyramid.last, inputs.dates, self.dates)
        network = self.architecture.assemble(pyramid, inputs, len(task.classes), self.depth)
        network.set_encoder(inner)
        return network
