"""Targets of locations, and the losses of their predictions: sums over masks, which need no synchronisation."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou, sigmoid_focal_loss

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.common.together import total

BACKGROUND = Matcher.BELOW_LOW_THRESHOLD
"""The class of a location without an object."""

UNSURE = Matcher.BETWEEN_THRESHOLDS
"""The class of a location that is ignored in the loss."""

Match = Callable[[Tensor], Tensor]
"""Assigns objects (box, 4; rows of NaN are none) to locations: returns (location,) the object's number, BACKGROUND or
UNSURE."""

EPSILON = 1e-7
"""Px² added to areas before a division by them, as torchvision does."""


@dataclass(frozen=True)
class Taught:
    """Targets of locations: class ids, BACKGROUND or UNSURE, and boxes, which are valid only at class ids."""

    classes: Tensor
    """(…, location), int64."""
    boxes: Tensor
    """(…, location, 4), px of the window."""

    @property
    def found(self) -> Tensor:
        """(…, location), True where there is an object."""
        return self.classes >= 0

    @property
    def count(self) -> Tensor:
        """The number of locations with objects, at least 1, by which losses are divided."""
        return total(self.found.sum()).clamp(min=1)


def taught(labels: Tensor, starts: Tensor, match: Match) -> Taught:
    """Return the targets of locations with anchors ``starts`` (location, 4) from a chip's ``labels`` (box, 5).

    Rows of NaN are padding. Locations without an object whose centre is in an ignored region are UNSURE.
    """
    labels = pad(labels, (0, 0, 0, 1), value=torch.nan)  # so that there is one
    boxes, classes = labels[:, :4], labels[:, 4:]
    objects, ignored = (torch.where(these, boxes, torch.nan) for these in (classes < IGNORE, classes == IGNORE))
    middle = ((starts[:, :2] + starts[:, 2:]) / 2)[:, None]
    hidden = ((middle > ignored[:, :2]) & (middle < ignored[:, 2:])).all(-1).any(-1)
    matched = match(objects)
    number = matched.clamp(min=0)
    learnt = torch.where(hidden, UNSURE, matched)
    ids = classes[:, 0].nan_to_num().long()[number]
    return Taught(torch.where(matched >= 0, ids, learnt), objects.nan_to_num()[number])


def together(chips: list[Taught]) -> Taught:
    """Return the targets of all chips, stacked along a new first axis."""
    return Taught(torch.stack([chip.classes for chip in chips]), torch.stack([chip.boxes for chip in chips]))


def matched_by_overlap(starts: Tensor, least: float, unsure: float, *, each: bool) -> Match:
    """Return matching by IoU: objects from ``least`` on, BACKGROUND below ``unsure``, as in Faster R-CNN.

    With ``each``, each object also gets the locations that overlap it most, however little.
    """

    def match(objects: Tensor) -> Tensor:
        overlaps = box_iou(objects, starts).nan_to_num(-1)  # (box, location)
        most, number = overlaps.max(0)
        found = torch.where(most < unsure, BACKGROUND, torch.where(most < least, UNSURE, number))
        if not each:
            return found
        best = overlaps.amax(1, keepdim=True)
        return torch.where(((overlaps == best) & (best >= 0)).any(0), number, found)

    return match


def class_loss(logits: Tensor, wanted: Taught) -> Tensor:
    """Return the focal loss (Lin et al. 2017) of logits (…, location, class), summed, by object location."""
    truth = wanted.classes[..., None] == torch.arange(logits.shape[-1], device=logits.device)
    each = sigmoid_focal_loss(logits, truth.to(logits), reduction="none")
    return total(torch.where((wanted.classes != UNSURE)[..., None], each, 0).sum()) / wanted.count


def box_loss(boxes: Tensor, wanted: Taught) -> Tensor:
    """Return the generalised IoU loss (Rezatofighi et al. 2019) of boxes (…, location, 4), the mean of objects'."""
    told = torch.where(wanted.found[..., None], boxes, wanted.boxes)  # what finds nothing has no gradient
    return total(torch.where(wanted.found, 1 - generalised_iou(told, wanted.boxes), 0).sum()) / wanted.count


def generalised_iou(one: Tensor, other: Tensor) -> Tensor:
    """Return (…,) the generalised IoU of boxes (…, 4), each with the other of its place."""
    left, right = torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    hull = torch.maximum(one[..., 2:], other[..., 2:]) - torch.minimum(one[..., :2], other[..., :2])
    shared = _area((right - left).clamp(min=0))
    union = _area(one[..., 2:] - one[..., :2]) + _area(other[..., 2:] - other[..., :2]) - shared
    around = _area(hull)
    return shared / (union + EPSILON) - (around - union) / (around + EPSILON)


def _area(sides: Tensor) -> Tensor:
    return sides[..., 0] * sides[..., 1]  # the gradient of torch's product asks the processor for zeros
