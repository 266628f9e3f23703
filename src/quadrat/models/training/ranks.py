"""The processes that train a network together, each on a device of its own, and what they tell each other."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, TypeVar

from quadrat.errors import ModelError
from quadrat.runtime.progress import console

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")

PATIENCE = timedelta(minutes=10)
"""How long a process waits for another that doesn't answer; one that has ended is noticed at once."""


@dataclass(frozen=True)
class Rank:
    """A process, by its number among all that train together, and among those of its machine."""

    number: int = 0
    count: int = 1
    local: int = 0
    locals: int = 1
    """How many are on its machine; as many as on each other one."""

    @property
    def leads(self) -> bool:
        """Whether it is the one that prints and writes files."""
        return self.number == 0

    def part(self, chips: int) -> slice:
        """Return which of the ``chips`` of a batch it takes; parts differ by one chip at most."""
        return slice(*(chips * number // self.count for number in (self.number, self.number + 1)))

    def variables(self) -> dict[str, str]:
        """Return what torchrun sets for such a process."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
        values = (self.number, self.count, self.local, self.locals, self.number // self.locals)
        return dict(zip(names, map(str, values), strict=True))


_current = Rank()


def current() -> Rank:
    """Return which of the processes that train together this one is; while it doesn't, it is alone."""
    return _current


def launched() -> Rank | None:
    """Return which process this is by torchrun's variables; None if it is the only one, or was started otherwise."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or "LOCAL_RANK" not in os.environ:
        return None
    locals_ = int(os.environ.get("LOCAL_WORLD_SIZE", count))
    return Rank(int(os.environ["RANK"]), count, int(os.environ["LOCAL_RANK"]), locals_)


def take_device(rank: Rank) -> None:
    """Let this process see one GPU alone, its own: called before anything asks CUDA, which then keeps what it has seen.

    Raises ModelError where a machine has fewer than processes.
    """
    import torch

    there = torch.cuda.device_count()  # by NVML, not by CUDA as ``is_available``
    if not there:
        check_devices(rank.locals)
        return
    _check_count(rank.locals, there)
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = seen.split(",")[rank.local] if seen else str(rank.local)


def check_devices(count: int) -> None:
    """Raise ModelError where this machine has GPUs, but not ``count``."""
    import torch

    from quadrat.models.common.devices import device

    if device().type != "cpu":
        _check_count(count, torch.cuda.device_count() if device().type == "cuda" else 1)


def _check_count(wanted: int, there: int) -> None:
    if there < wanted:
        raise ModelError("there are fewer GPUs", expected=wanted, got=there, hint="give fewer --devices")


@contextmanager
def joined(rank: Rank, store: "Store") -> Iterator[None]:
    """Train with the others, who meet at ``store``; all but the first are silent."""
    import torch
    import torch.distributed as dist

    from quadrat.models.common.devices import device
    from quadrat.tasks.common.together import together

    global _current
    if device().type == "cuda":
        torch.cuda.set_device(0)
    backend = "nccl" if device().type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank.number, world_size=rank.count, timeout=PATIENCE)
    console.quiet, _current = not rank.leads, rank
    try:
        with together(rank.count):
            yield
    finally:
        console.quiet, _current = False, Rank()
    dist.destroy_process_group()  # after an error others may be gone, and the process ends anyway


def trainer_options() -> dict[str, Any]:
    """Return arguments of Lightning's Trainer: one device, or DDP for the processes that train together."""
    if _current.count == 1:
        return {"devices": 1}
    import torch
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from pytorch_lightning.strategies import DDPStrategy

    from quadrat.models.common.devices import device

    own = torch.device("cuda", 0) if device().type == "cuda" else torch.device("cpu")
    strategy = DDPStrategy(
        parallel_devices=[own] * _current.locals,  # each process sees its own
        cluster_environment=TorchElasticEnvironment(),
        find_unused_parameters=True,
    )
    return {"strategy": strategy, "devices": 1, "num_nodes": _current.count // _current.locals}


def in_turn(mine: list[T]) -> list[T]:
    """Return what all processes have, in the order in which they take batches in turn; alone, ``mine``."""
    if _current.count == 1:
        return mine
    import torch
    import torch.distributed as dist

    parts: list[Any] = [None] * _current.count
    dist.all_gather_object(parts, [one.cpu() if isinstance(one, torch.Tensor) else one for one in mine])
    return [one for one in chain.from_iterable(zip_longest(*parts)) if one is not None]


def as_the_first(tensors: "Iterable[Tensor]") -> None:
    """Set ``tensors`` to what they are in the first process."""
    if _current.count > 1:
        import torch.distributed as dist

        for tensor in tensors:
            dist.broadcast(tensor, 0)
