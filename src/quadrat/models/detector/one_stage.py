"""One-stage detectors, which predict a class and a box at each location: FCOS and RetinaNet."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSRegressionHead
from torchvision.models.detection.retinanet import RetinaNetHead

from quadrat.models.common.model import Inputs
from quadrat.models.detector.anchors import anchors, cells, decoded
from quadrat.models.detector.box_network import BoxNetwork, Losses
from quadrat.models.detector.pyramid import Pyramid, grouped
from quadrat.models.detector.targets import (
    BACKGROUND,
    Match,
    Taught,
    box_loss,
    class_loss,
    matched_by_overlap,
    taught,
    together,
)
from quadrat.tasks.common.together import total

RADIUS = 1.5
"""Largest distance of an object's locations from its middle, in strides (FCOS's centre sampling)."""

REACH = 8
"""A level of FCOS takes objects whose farthest side is 4 to 8 strides from a location."""


@dataclass(frozen=True)
class Dense:
    """The raw predictions at each location."""

    logits: Tensor
    """(chip, location, class)."""
    boxes: Tensor
    """(chip, location, 4), px of the window."""
    starts: Tensor
    """(location, 4), the anchors."""
    centred: Tensor | None = None
    """(chip, location), the centre-ness logit; FCOS only."""


class RetinaNet(BoxNetwork[Dense]):
    """RetinaNet (Lin et al. 2017), with group normalisation in the heads, and the generalised IoU loss for boxes."""

    def __init__(
        self,
        pyramid: Pyramid,
        inputs: Inputs,
        classes: int,
        depth: int,
        scales: Sequence[float],
        ratios: Sequence[float],
    ) -> None:
        """Use anchors of ``scales``, in strides, and ``ratios``; heads have ``depth`` convolutions, at most 4."""
        super().__init__(pyramid, inputs)
        self.register_buffer("cells", cells(scales, ratios), persistent=False)
        self.head = RetinaNetHead(pyramid.channels, len(self.cells), classes, grouped)
        for part in (self.head.classification_head, self.head.regression_head):
            part.conv = part.conv[:depth]

    cells: Tensor

    def look(self, normalised: Tensor, target: Tensor | None = None) -> Dense:
        """Return classes and boxes of all anchors."""
        del target
        maps = self.pyramid(normalised)
        heads = self.head(maps)
        starts = anchors(maps, self.pyramid.strides, self.cells)
        return Dense(heads["cls_logits"].float(), decoded(heads["bbox_regression"].float(), starts), starts)

    def outputs(self, seen: Dense) -> dict[str, Tensor]:
        """Return each class's probability, and the boxes."""
        return {"scores": seen.logits.sigmoid(), "boxes": seen.boxes}

    def losses(self, seen: Dense, target: Tensor) -> Losses:
        """Return the focal loss and the box loss; anchors match objects from an IoU of 0.5, background is below 0.4."""
        targets = dense_taught(target, seen.starts, matched_by_overlap(seen.starts, 0.5, 0.4, each=True))
        return Losses(class_loss(seen.logits, targets), box_loss(seen.boxes, targets))


class Fcos(BoxNetwork[Dense]):
    """FCOS (Tian et al. 2019), with centre sampling and without anchors, as in torchvision.

    A score is the square root of a class's probability times the centre-ness.
    """

    def __init__(self, pyramid: Pyramid, inputs: Inputs, classes: int, depth: int) -> None:
        """Give both heads ``depth`` convolutions before their last."""
        super().__init__(pyramid, inputs)
        self.classes = FCOSClassificationHead(pyramid.channels, 1, classes, depth, norm_layer=grouped)
        self.sides = FCOSRegressionHead(pyramid.channels, 1, depth, grouped)
        # start at 4 strides, because ReLU passes no gradient at 0
        nn.init.constant_(self.sides.bbox_reg.bias, REACH / 2)

    def look(self, normalised: Tensor, target: Tensor | None = None) -> Dense:
        """Return classes, boxes and centre-ness at all locations."""
        del target
        maps = self.pyramid(normalised)
        starts = anchors(maps, self.pyramid.strides, normalised.new_ones(1, 2))
        sides, centred = self.sides(maps)
        boxes = reached(sides.float(), starts)
        return Dense(self.classes(maps).float(), boxes, starts, centred.float()[..., 0])

    def outputs(self, seen: Dense) -> dict[str, Tensor]:
        """Return scores and boxes."""
        assert seen.centred is not None
        return {"scores": (seen.logits.sigmoid() * seen.centred.sigmoid()[..., None]).sqrt(), "boxes": seen.boxes}

    def losses(self, seen: Dense, target: Tensor) -> Losses:
        """Return the focal loss, and the sum of the losses of boxes and centre-ness."""
        assert seen.centred is not None
        wanted = dense_taught(target, seen.starts, matched_by_place(seen.starts))
        aim = torch.where(wanted.found, centredness(seen.starts, wanted.boxes), 0)
        each = nn.functional.binary_cross_entropy_with_logits(seen.centred, aim, reduction="none")
        centred = total(torch.where(wanted.found, each, 0).sum()) / wanted.count
        return Losses(class_loss(seen.logits, wanted), box_loss(seen.boxes, wanted) + centred)


def reached(sides: Tensor, starts: Tensor) -> Tensor:
    """Return boxes (…, 4) whose left, top, right and bottom are ``sides`` (…, 4) strides from the middle of a square.

    ``starts`` (location, 4) are squares as large as the locations' strides.
    """
    middle = (starts[..., :2] + starts[..., 2:]) / 2
    distances = sides * (starts[..., 2:3] - starts[..., 0:1])
    return torch.cat([middle - distances[..., :2], middle + distances[..., 2:]], -1)


def dense_taught(target: Tensor, starts: Tensor, match: Match) -> Taught:
    """Return the targets of the locations ``starts``, which all chips share, from labels (chip, box, 5)."""
    return together([taught(labels, starts, match) for labels in target])


def matched_by_place(starts: Tensor) -> Match:
    """Return FCOS's matching; ``starts`` (location, 4) are squares as large as the locations' strides.

    A location matches an object that contains it, if it is near the object's middle and the object's size fits its
    level; of several objects, the smallest.
    """
    stride = starts[:, None, 2] - starts[:, None, 0]
    least = torch.where(stride == stride.min(), 0, stride * REACH / 2)
    most = torch.where(stride == stride.max(), torch.inf, stride * REACH)

    def match(objects: Tensor) -> Tensor:
        middle = (objects[:, :2] + objects[:, 2:]) / 2
        near = ((_points(starts) - middle).abs() < RADIUS * stride[..., None]).all(-1)
        sides = _sides(_points(starts), objects)
        far = sides.amax(-1)
        mine = near & (sides.amin(-1) > 0) & (far > least) & (far <= most)
        areas = (objects[:, 2:] - objects[:, :2]).prod(-1)
        smallest, number = torch.where(mine, areas, torch.inf).min(1)
        return torch.where(smallest.isfinite(), number, BACKGROUND)

    return match


def centredness(starts: Tensor, boxes: Tensor) -> Tensor:
    """Return (…, location), 1 in the middle of a box, 0 at its sides: FCOS's centre-ness of ``starts`` in ``boxes``.

    ``starts`` are (location, 4) and ``boxes`` (…, location, 4); elsewhere than in its box, a location has none.
    """
    sides = _sides(_points(starts)[:, 0], boxes)
    across, down = sides[..., 0::2], sides[..., 1::2]
    return (across.amin(-1) / across.amax(-1) * down.amin(-1) / down.amax(-1)).sqrt()


def _points(starts: Tensor) -> Tensor:
    """Return the centres (location, 1, 2)."""
    return ((starts[:, :2] + starts[:, 2:]) / 2)[:, None]


def _sides(points: Tensor, boxes: Tensor) -> Tensor:
    """Return the distances (…, 4) of ``points`` (…, 2) to the boxes' left, top, right and bottom; inside, positive."""
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], -1)
