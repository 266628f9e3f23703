"""Batches of chips: gathered at once, in an order that the seed and the epoch fix."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quadrat.models.common.devices import Upload, as_tensor, device
from quadrat.models.common.model import Samples
from quadrat.models.training.ranks import current
from quadrat.runtime.parallel import Threads, cores, results

Batch = tuple[Tensor, dict[str, Tensor]]
"""Raw pixels (chip, band, y, x), as they are stored, and targets (chip, …) by name."""

Send = Callable[[Batch], Callable[[], Batch]]
"""Sends a batch on its way, in any thread; what it returns gives the batch where it is needed, and doesn't wait."""

THREADS = 4
"""Most threads that gather batches for a GPU."""


class Order:
    """Indices of each batch: shuffled anew in each epoch from the seed, or in order where there is none.

    Of processes that train together, each takes its part of a shuffled batch; of others, whole batches in turn.
    """

    def __init__(self, count: int, batch_size: int, seed: int | None, epoch: Callable[[], int]) -> None:
        """Put ``count`` chips into batches; when shuffled, the last, smaller one is left out if there are others."""
        self._count, self._batch_size, self._seed, self._epoch = count, batch_size, seed, epoch

    def __len__(self) -> int:
        """Return the number of batches, the same in all processes."""
        whole, rest = divmod(self._count, self._batch_size)
        if self._seed is not None and whole:
            return whole
        return math.ceil((whole + bool(rest)) / (1 if self._seed is not None else current().count))

    def __iter__(self) -> Iterator[NDArray[np.intp]]:
        """Give each batch's indices, in the order of the epoch that begins; none where there is no batch left."""
        order, size, rank = np.arange(self._count), self._batch_size, current()
        if self._seed is None:
            for batch in range(rank.number, len(self) * rank.count, rank.count):
                yield order[batch * size : (batch + 1) * size]
            return
        order = np.random.default_rng([self._seed, self._epoch()]).permutation(order)
        for batch in range(len(self)):
            whole = order[batch * size : (batch + 1) * size]
            yield whole[rank.part(len(whole))]


class Batches:
    """The batches of an order, one after the other; several threads gather them ahead, one does when asked."""

    def __init__(self, samples: Samples, order: Order, threads: int, send: Send) -> None:
        """Gather chips of ``samples`` by ``threads``, and ``send`` them to where they are needed."""
        self._samples, self._order, self._threads, self._send = samples, order, Threads(threads), send

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._order)

    def __iter__(self) -> Iterator[Batch]:
        """Give the batches of the epoch that begins."""
        for arrived in results(self._threads.map(self._sent, self._order)):
            yield arrived()

    def _sent(self, indices: NDArray[np.intp]) -> Callable[[], Batch]:
        if not len(indices):
            return lambda: (torch.empty(0), {})
        pixels, target = self._samples.read(indices)
        return self._send((as_tensor(pixels), {name: torch.from_numpy(values) for name, values in target.items()}))


def uploading() -> Send:
    """Return what sends batches to the device."""
    upload = Upload()

    def send(batch: Batch) -> Callable[[], Batch]:
        pixels, target = batch
        arrived = upload(pixels, *target.values())

        def take() -> Batch:
            copied, *others = arrived()
            return copied, dict(zip(target, others, strict=True))

        return take

    return send


def loader(samples: Samples, order: Order) -> Batches:
    """Return the batches of ``order``; for CUDA they are gathered ahead, and lie there."""
    if device().type == "cuda":
        return Batches(samples, order, min(THREADS, cores()), uploading())
    return Batches(samples, order, 1, lambda batch: lambda: batch)
