"""Counting of class ids on the device where they are predicted."""

import torch
from torch import Tensor

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.common.cross_entropy import one_hot


def confused(truth: Tensor, scores: Tensor) -> Tensor:
    """Return (class + 1, class), int64: how many of ``truth`` (chip, …) are of a class, and predicted as another.

    ``scores`` are (chip, class, …), and the first of the largest ones is predicted. IGNORE counts nowhere, other ids
    without a class in the last row. Exact for chips of up to 2²⁴ px: float32 counts as far.
    """
    chips, classes = scores.shape[:2]
    known = torch.where(truth == IGNORE, truth, truth.clamp(max=classes))
    predicted = one_hot(scores.argmax(1), classes).reshape(chips, classes, -1)
    true = one_hot(known, classes + 1).reshape(chips, classes + 1, -1)
    with torch.autocast(scores.device.type, enabled=False):
        return (true.float() @ predicted.float().mT).long().sum(0)
