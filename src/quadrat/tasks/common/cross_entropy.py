"""Cross-entropy of what is labelled, as sums over masks: nothing is gathered, so that no device waits for another."""

import torch
from torch import Tensor

from quadrat.tasks.common.together import total


def one_hot(truth: Tensor, classes: int) -> Tensor:
    """Return (chip, class, …), True at the class id that ``truth`` (chip, …) holds; of other ids, False of all."""
    ids = torch.arange(classes, device=truth.device).reshape(-1, *[1] * (truth.ndim - 1))
    return truth[:, None] == ids


def by_class(values: Tensor, where: Tensor | None = None) -> Tensor:
    """Return the sums (class,) of ``values`` (chip, class, …), of those alone where the mask ``where`` is True."""
    chosen = values if where is None else torch.where(where, values, 0)
    return chosen.sum([axis for axis in range(values.ndim) if axis != 1])


def cross_entropy(logs: Tensor, true: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """Return what torch's function of this name does, and 0 where no label counts.

    ``logs`` (chip, class, …) are logarithms of probabilities, ``true`` is the ``one_hot`` of what counts, ``weights``
    (class,) are those of labels, and ``smoothing`` is the share of a label that goes to all classes alike.
    """
    loss = (1 - smoothing) * (weights * by_class(logs, true)).sum()
    if smoothing:
        loss = loss + smoothing / logs.shape[1] * (weights * by_class(logs, true.any(1, keepdim=True))).sum()
    return -share(total(loss), total((weights * by_class(true)).sum()))


def share(part: Tensor, of: Tensor) -> Tensor:
    """Return ``part / of``, and 0 of nothing."""
    return part / of.float().masked_fill(of == 0, torch.inf)
