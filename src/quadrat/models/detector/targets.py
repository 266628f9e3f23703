"""What locations are taught, and the losses of what they say."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from quadrat.geo.grids.class_ids import IGNORE

BACKGROUND = Matcher.BELOW_LOW_THRESHOLD
"""The class of a location that no object is found from."""

UNSURE = Matcher.BETWEEN_THRESHOLDS
"""The class of a location that is taught nothing."""

Match = Callable[[Tensor], Tensor]
"""Assigns objects (box, 4) to locations: (location,) the object's number, BACKGROUND or UNSURE."""


@dataclass(frozen=True)
class Taught:
    """What locations are taught: class ids, BACKGROUND or UNSURE, and boxes, which mean something at class ids only."""

    classes: Tensor
    """(…, location), int64."""
    boxes: Tensor
    """(…, location, 4), px of the window."""

    @property
    def found(self) -> Tensor:
        """(…, location), True where an object is to be found."""
        return self.classes >= 0

    @property
    def count(self) -> int:
        """How many are to be found, and 1 where none is: what losses are divided by."""
        return max(1, int(self.found.sum()))


def taught(labels: Tensor, starts: Tensor, match: Match) -> Taught:
    """Return what a chip's ``labels`` (box, 5) teach locations that start from boxes ``starts`` (location, 4).

    Rows of NaN are none. Locations whose middle lies in an ignored region, and which aren't an object's, are UNSURE.
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
    """Return what all chips are taught, along a new first axis."""
    return Taught(torch.stack([chip.classes for chip in chips]), torch.stack([chip.boxes for chip in chips]))


def matched_by_overlap(starts: Tensor, least: float, unsure: float, *, each: bool) -> Match:
    """Return what matches by IoU: objects from ``least`` on, BACKGROUND below ``unsure``, as in Faster R-CNN.

    ``each`` object also has the locations that overlap it most, however little that is.
    """
    matcher = Matcher(least, unsure, allow_low_quality_matches=each)
    return lambda objects: matcher(box_iou(objects, starts))


def class_loss(logits: Tensor, wanted: Taught) -> Tensor:
    """Return the focal loss (Lin et al. 2017) of logits (…, location, class), summed, by object location."""
    truth = torch.zeros_like(logits)
    truth[wanted.found] = torch.nn.functional.one_hot(wanted.classes[wanted.found], logits.shape[-1]).to(logits)
    sure = wanted.classes != UNSURE
    total: Tensor = sigmoid_focal_loss(logits[sure], truth[sure], reduction="sum")
    return total / wanted.count


def box_loss(boxes: Tensor, wanted: Taught) -> Tensor:
    """Return the generalised IoU loss (Rezatofighi et al. 2019) of boxes (…, location, 4), the mean of objects'."""
    found = wanted.found
    total: Tensor = generalized_box_iou_loss(boxes[found], wanted.boxes[found], reduction="sum")
    return total / wanted.count
