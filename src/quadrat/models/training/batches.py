"""Batches of chips: gathered at once, in an order that the seed and the epoch fix."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from quadrat.models.common.devices import as_tensor, device
from quadrat.models.common.model import Samples

Batch = tuple[Tensor, dict[str, Tensor]]
"""Raw pixels (chip, band, y, x), as they are stored, and targets (chip, …) by name."""


class Chipped(Dataset[Batch]):
    """Batches of chips, gathered at once."""

    def __init__(self, samples: Samples) -> None:
        """Read from ``samples``."""
        self._samples = samples

    def __getitem__(self, indices: NDArray[np.intp]) -> Batch:
        """Return the chips at ``indices`` as one batch."""
        pixels, target = self._samples.read(indices)
        return as_tensor(pixels), {name: torch.from_numpy(values) for name, values in target.items()}


class Order(Sampler[NDArray[np.intp]]):
    """Indices of each batch: shuffled anew in each epoch from the seed, or in order where there is none."""

    def __init__(self, count: int, batch_size: int, seed: int | None, epoch: Callable[[], int]) -> None:
        """Put ``count`` chips into batches; when shuffled, the last, smaller one is left out if there are others."""
        self._count, self._batch_size, self._seed, self._epoch = count, batch_size, seed, epoch

    def __len__(self) -> int:
        """Return the number of batches."""
        whole, rest = divmod(self._count, self._batch_size)
        return whole if self._seed is not None and whole else whole + bool(rest)

    def __iter__(self) -> Iterator[NDArray[np.intp]]:
        """Give each batch's indices, in the order of the epoch that begins."""
        order = np.arange(self._count)
        if self._seed is not None:
            order = np.random.default_rng([self._seed, self._epoch()]).permutation(order)
        for batch in range(len(self)):
            yield order[batch * self._batch_size : (batch + 1) * self._batch_size]


def loader(samples: Samples, order: Order) -> DataLoader[Batch]:
    """Return what gives the batches of ``order``, one after the other; for CUDA in pinned memory."""
    # a generator of its own: a loader draws a number when it begins, which must not shift what dropout draws
    return DataLoader(
        Chipped(samples),
        batch_size=None,
        sampler=order,
        generator=torch.Generator(),
        pin_memory=device().type == "cuda",
    )
