"""Faster R-CNN (Ren et al. 2015): a fixed number of proposals per window, which a second stage classifies."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.rpn import RPNHead, concat_box_prediction_layers
from torchvision.ops import batched_nms, roi_align

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.models.common.model import Inputs
from quadrat.models.detector.anchors import anchors, cells, decoded
from quadrat.models.detector.box_network import BoxNetwork, Losses, within
from quadrat.models.detector.one_stage import Dense, dense_taught
from quadrat.models.detector.pyramid import Pyramid
from quadrat.models.detector.targets import (
    BACKGROUND,
    UNSURE,
    Taught,
    box_loss,
    class_loss,
    matched_by_overlap,
    taught,
    together,
)
from quadrat.tasks.common.together import total

CANDIDATES = 4
"""Number of best anchors per proposal that go into suppression."""

ALIKE = 0.7
"""IoU above which the worse of two proposals is dropped."""

POOLED = 7
"""Rows and columns of a proposal's pooled features."""

CANONICAL = 14
"""Features are pooled from the level where a proposal has this to twice this many strides (Lin et al. 2017)."""

PRIOR = 4.6
"""Minus the initial logit of an object: a probability of 0.01, as the focal loss needs it."""


@dataclass(frozen=True)
class Closer:
    """The raw predictions of the second stage, and those of the first."""

    first: Dense
    logits: Tensor
    """(chip, proposal, class + 1); the last class is background."""
    boxes: Tensor
    """(chip, proposal, 4), px of the window."""
    proposals: Tensor
    """(chip, proposal, 4); all 0 is padding."""


class FasterRcnn(BoxNetwork[Closer]):
    """Faster R-CNN on a pyramid, with one box per proposal for all classes.

    The first stage uses the focal loss, and both stages the generalised IoU loss for boxes, so there is no random
    sampling.
    """

    cells: Tensor

    def __init__(  # noqa: PLR0913, PLR0917 anchors are two of the seven
        self,
        pyramid: Pyramid,
        inputs: Inputs,
        classes: int,
        depth: int,
        scales: Sequence[float],
        ratios: Sequence[float],
        proposals: int,
    ) -> None:
        """Take ``proposals`` per window; the first stage has ``depth`` convolutions."""
        super().__init__(pyramid, inputs)
        self.register_buffer("cells", cells(scales, ratios), persistent=False)
        self._proposals = proposals
        self.proposer = RPNHead(pyramid.channels, len(self.cells), depth)
        nn.init.constant_(self.proposer.cls_logits.bias, -PRIOR)
        width = 4 * pyramid.channels
        self.features = TwoMLPHead(pyramid.channels * POOLED**2, width)
        self.classifier = nn.Linear(width, classes + 1)
        self.regressor = nn.Linear(width, 4)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.normal_(self.regressor.weight, std=0.001)

    def look(self, normalised: Tensor, target: Tensor | None = None) -> Closer:
        """Return the predictions of both stages; the objects of a ``target`` are added to the proposals."""
        maps = self.pyramid(normalised)
        logits, codes = self.proposer(maps)
        logits, codes = concat_box_prediction_layers(logits, codes)
        starts = anchors(maps, self.pyramid.strides, self.cells)
        shape = (normalised.shape[0], starts.shape[0])
        boxes = decoded(codes.float().reshape(*shape, 4), starts)
        first = Dense(logits.float().reshape(*shape, 1), boxes, starts)
        with torch.no_grad():
            height, width = normalised.shape[-2:]
            proposals = proposed(first, height, width, self._proposals)
            if target is not None:
                objects = torch.where(target[..., 4:] < IGNORE, target[..., :4], 0.0)
                proposals = torch.cat([proposals, objects], 1)
        features = self.features(pooled(maps, self.pyramid.strides, proposals))
        each = proposals.shape[:2]
        logits = self.classifier(features).float().reshape(*each, -1)
        codes = self.regressor(features).float().reshape(*each, 4)
        return Closer(first, logits, decoded(codes, proposals, (0.1, 0.2)), proposals)

    def outputs(self, seen: Closer) -> dict[str, Tensor]:
        """Return the classes' probabilities, 0 for padding, and the boxes."""
        scores = seen.logits.softmax(-1)[..., :-1] * _real(seen.proposals)[..., None]
        return {"scores": scores, "boxes": seen.boxes}

    def losses(self, seen: Closer, target: Tensor) -> Losses:
        """Return the summed losses of both stages; the second uses cross-entropy, without ignored proposals."""
        first = dense_taught(
            _of_one_class(target), seen.first.starts, matched_by_overlap(seen.first.starts, 0.7, 0.3, each=True)
        )
        second = together(
            [
                taught(labels, starts, matched_by_overlap(starts, 0.5, 0.5, each=False))
                for labels, starts in zip(target, seen.proposals, strict=True)
            ]
        )
        second = Taught(second.classes.masked_fill(~_real(seen.proposals), UNSURE), second.boxes)
        return Losses(
            class_loss(seen.first.logits, first) + proposal_loss(seen.logits, second),
            box_loss(seen.first.boxes, first) + box_loss(seen.boxes, second),
        )


def proposed(seen: Dense, height: int, width: int, count: int) -> Tensor:
    """Return the best boxes (chip, ``count``, 4) after suppression, in the order of their anchors.

    Boxes of all 0 are padding. All chips are processed at once, so that a traced graph takes any number of them. The
    order is that of anchors, so that a tie of scores has the same result in all runtimes.
    """
    chips, many = seen.boxes.shape[0], CANDIDATES * count
    boxes = functional.pad(within(seen.boxes, height, width), (0, 0, 0, many))
    scores, anchor = functional.pad(seen.logits[..., 0], (0, many), value=-torch.inf).topk(many)
    boxes = _picked(boxes, anchor)
    chip = torch.arange(chips, device=boxes.device)[:, None].expand(-1, many)
    kept = batched_nms(boxes.reshape(-1, 4), scores.reshape(-1), chip.reshape(-1), ALIKE)
    unlike = torch.zeros_like(scores).reshape(-1).scatter(0, kept, 1.0) > 0
    usable = unlike.reshape(chips, many) & _real(boxes)
    best = scores.masked_fill(~usable, -torch.inf).topk(count)
    place = anchor.gather(1, best.indices).masked_fill(best.values == -torch.inf, torch.iinfo(torch.int64).max)
    order = best.indices.gather(1, place.argsort(1))
    return _picked(boxes, order) * usable.gather(1, order)[..., None]


def pooled(maps: Sequence[Tensor], strides: Sequence[int], boxes: Tensor) -> Tensor:
    """Return features (chip × box, channel, POOLED, POOLED) of boxes (chip, box, 4), by each box's level."""
    chips, count = boxes.shape[:2]
    chip = torch.arange(chips, device=boxes.device)[:, None].expand(-1, count).reshape(-1, 1)
    rois = torch.cat([chip.to(boxes), boxes.reshape(-1, 4)], 1)
    size = (rois[:, 3:] - rois[:, 1:3]).clamp(min=1e-6).prod(1).sqrt()
    level = (size / (CANONICAL * strides[0])).log2().floor().clamp(0, len(maps) - 1)
    parts, places = [], []
    for number, (features, stride) in enumerate(zip(maps, strides, strict=True)):
        mine = (level == number).nonzero()[:, 0]
        parts.append(roi_align(features.float(), rois[mine], POOLED, 1 / stride, sampling_ratio=2, aligned=True))
        places.append(mine)
    return torch.cat(parts)[torch.cat(places).argsort()]


def proposal_loss(logits: Tensor, targets: Taught) -> Tensor:
    """Return the mean cross-entropy of logits (…, proposal, class + 1) over the proposals that are not ignored."""
    none = logits.shape[-1] - 1
    classes = targets.classes.masked_fill(targets.classes == BACKGROUND, none)
    summed = functional.cross_entropy(logits.flatten(0, -2), classes.flatten(), ignore_index=UNSURE, reduction="sum")
    mean: Tensor = total(summed) / total((classes != UNSURE).sum()).clamp(min=1)
    return mean


def _of_one_class(target: Tensor) -> Tensor:
    """Return labels (…, 5) with class 0 for all objects."""
    classes = target[..., 4:]
    return torch.cat([target[..., :4], classes.masked_fill(classes < IGNORE, 0)], -1)


def _picked(boxes: Tensor, indices: Tensor) -> Tensor:
    """Return (chip, index, 4) of boxes (chip, box, 4)."""
    return boxes.gather(1, indices[..., None].expand(-1, -1, 4))


def _real(boxes: Tensor) -> Tensor:
    """Return (…, box), True where a box has an area."""
    return (boxes[..., 2:] > boxes[..., :2]).all(-1)
