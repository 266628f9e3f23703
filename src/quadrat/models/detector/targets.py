"""Targets of locations, and the losses of their predictions."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from quadrat.geo.grids.class_ids import IGNORE

BACKGROUND = Matcher.BELOW_LOW_THRESHOLD
"""The class of a location without an object."""

UNSURE = Matcher.BETWEEN_THRESHOLDS
"""The class of a location that is ignored in the loss."""

Match = Callable[[Tensor], Tensor]
"""Assigns objects (box, 4) to locations: returns the object's number, BACKGROUND or UNSURE (location,)."""


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
    def count(self) -> int:
        """The number of locations with objects, at least 1, by which losses are divided."""
        return max(1, int(self.found.sum()))


def taught(labels: Tensor, starts: Tensor, match: Match) -> Taught:
    """Return the targets of locations with anchors ``starts`` (location, 4) from a chip's ``labels`` (box, 5).

    Rows of NaN are padding. Locations without an object whose centre is in an ignored region are UNSURE.
    """
    boxes, classes = labels[:, :4], labels[:, 4]
    objects, ignored = boxes[classes < IGNORE], boxes[classes == IGNORE]
    middle = ((starts[:, :2] + starts[:, 2:]) / 2)[:, None]
    hidden = ((middle > ignored[:, :2]) & (middle < ignored[:, 2:])).all(-1).any(-1)
    if not len(objects):
        none = torch.full_like(starts[:, 0], BACKGROUND, dtype=torch.int64).masked_fill(hidden, UNSURE)
        return Taught(none, torch.zeros_like(starts))
    matched = match(objects)
    number = matched.clamp(min=0)
    learnt = torch.where(hidden, UNSURE, matched)
    return Taught(torch.where(matched >= 0, classes[classes < IGNORE].long()[number], learnt), objects[number])


def together(chips: list[Taught]) -> Taught:
    """Return the targets of all chips, stacked along a new first axis."""
    return Taught(torch.stack([chip.classes for chip in chips]), torch.stack([chip.boxes for chip in chips]))


def matched_by_overlap(starts: Tensor, least: float, unsure: float, *, each: bool) -> Match:
    """Return matching by IoU: objects from ``least`` on, BACKGROUND below ``unsure``, as in Faster R-CNN.

    With ``each``, each object also gets the locations that overlap it most, however little.
    """
    matcher = Matcher(least, unsure, allow_low_quality_matches=each)
    return lambda objects: matcher(box_iou(objects, starts))


def class_loss(logits: Tensor, targets: Taught) -> Tensor:
    """Return the focal loss (Lin et al. 2017) of logits (…, location, class), divided by the number of objects."""
    truth = torch.zeros_like(logits)
    truth[targets.found] = torch.nn.functional.one_hot(targets.classes[targets.found], logits.shape[-1]).to(logits)
    sure = targets.classes != UNSURE
    total: Tensor = sigmoid_focal_loss(logits[sure], truth[sure], reduction="sum")
    return total / targets.count


def box_loss(boxes: Tensor, targets: Taught) -> Tensor:
    """Return the generalised IoU loss (Rezatofighi et al. 2019) of boxes (…, location, 4), the mean over objects."""
    found = targets.found
    total: Tensor = generalized_box_iou_loss(boxes[found], targets.boxes[found], reduction="sum")
    return total / targets.count
