"""A GPU that isn't there: torch's fake tensors say they lie on one, and whatever mixes them with a processor's fails.

They have shapes and types and no values. So what would have to wait for a value fails, too.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Module = TypeVar("Module", bound=nn.Module)


class FakeGpu(FakeTensorMode):
    """Where work is done on the GPU that isn't there."""

    def there(self, held: Tensor) -> Tensor:
        """Return a tensor like ``held`` on the GPU."""
        with self:
            return torch.empty_strided(held.shape, held.stride(), dtype=held.dtype, device="cuda")

    def all_there(self, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors like those of ``held``."""
        return {name: self.there(values) for name, values in held.items()}

    def moved(self, module: Module) -> Module:
        """Return ``module``, its weights and buffers on the GPU; what it holds otherwise stays, as with ``to``."""
        for part in module.modules():
            for name, weight in part._parameters.items():
                if weight is not None:
                    part._parameters[name] = nn.Parameter(self.there(weight.detach()), weight.requires_grad)
            for name, values in part._buffers.items():
                if values is not None:
                    part._buffers[name] = self.there(values)
        return module

    def upload(self) -> Callable[..., Any]:
        """Return what stands for ``quadrat.models.common.devices.Upload``."""

        def send(*held: Tensor) -> Callable[[], tuple[Tensor, ...]]:
            there = tuple(self.there(each) for each in held)
            return lambda: there

        return send


class Crossings(TorchDispatchMode):
    """Notes what is copied between the processor and the GPU."""

    def __init__(self) -> None:
        """Note nothing yet."""
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run it, and see where what goes in and what comes out lie."""
        found = func(*args, **(kwargs or {}))
        some = [each for each in tree_leaves((args, kwargs, found)) if isinstance(each, Tensor)]
        if not func.overloadpacket.__name__.endswith(("copy", "copy_")):  # a single number is an argument of a kernel
            some = [each for each in some if each.ndim]
        if len({each.device.type for each in some}) > 1:
            self.seen.append(str(func))
        return found
