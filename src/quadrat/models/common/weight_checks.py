"""What a file claims of a network, held against the weights that come with it, before it costs memory or time."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from quadrat.errors import ModelError
from quadrat.models.common.trainable import TrainableModule

SPARE = 1 << 28
"""Values that may be made to build a network beside its weights: encoders are built whole and then shortened."""

TIMES = 4
"""How often its weights may be made meanwhile."""

WIDEST = 1024
"""Most values of a px that a network may make at once, beside SMALL: of real ones, 256 is much."""

SMALL = 1 << 24
"""Values of what doesn't grow with the window."""


class OverBudgetError(RuntimeError):
    """More is to be made than there is room for."""


class Budget(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's, as below
    """Lets tensors be made, but on the device ``meta``, up to so many values together."""

    def __init__(self, values: int) -> None:
        """Have ``values`` to spend."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._left = values

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take what ``func`` is asked to make from the budget, before it does."""
        del types
        given = kwargs or {}
        names = [argument.name for argument in func._schema.arguments]  # noqa: SLF001 (the only way to know them)
        asked = {**dict(zip(names, args, strict=False)), **given}
        new = not any(isinstance(value, Tensor) for value in args) or "new" in str(func)
        if new and "size" in asked and str(given.get("device")) != "meta":
            self._left -= math.prod(int(side) for side in asked["size"])
        if self._left < 0:
            raise OverBudgetError("it is far larger than the weights that come with it")
        return func(*args, **given)


class Growth(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the most values of what is made larger than all that it is made of."""

    most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run ``func`` and look at what it makes."""
        del types
        made = func(*args, **(kwargs or {}))
        before = max((leaf.numel() for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)), default=0)
        after = max((leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, Tensor)), default=0)
        if after > before:
            self.most = max(self.most, after)
        return made


def budget(weights: Mapping[str, NDArray[Any]]) -> Budget:
    """Return what a network with such ``weights`` may be built with."""
    return Budget(SPARE + TIMES * sum(values.size for values in weights.values()))


def check_weights(network: TrainableModule, weights: Mapping[str, NDArray[Any]]) -> None:
    """Raise ModelError where ``weights`` differ from the network's in names, shapes or kinds, or hold no numbers.

    What isn't finite in the network itself (a nodata value of NaN) may be so.
    """
    built = network.state_dict()
    wanted = {name: (tuple(tensor.shape) or (1,), tensor.numpy().dtype.kind) for name, tensor in built.items()}
    given = {name: (values.shape or (1,), values.dtype.kind) for name, values in weights.items()}  # as they are stored
    wrong = [name for name in sorted({*wanted, *given}) if wanted.get(name) != given.get(name)]
    if wrong:
        raise ModelError(
            f"the weights are not those of the network: {len(wrong)} arrays differ",
            expected=f"{wrong[0][:200]} {wanted.get(wrong[0], 'is no weight of it')}",
            got=given.get(wrong[0], "no such array"),
            hint="fetch or train the model again",
        )
    for name, values in weights.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all() and bool(torch.isfinite(built[name]).all()):
            raise ModelError(
                f"weights of the network are no numbers: {name}",
                expected="finite values",
                got=f"{int((~np.isfinite(values)).sum())} of {values.size} are NaN or infinite",
                hint="fetch or train the model again",
            )


def check_room(network: TrainableModule, window: Sequence[int]) -> None:
    """Raise ModelError where a ``window`` (chip, band, y, x) becomes far more values than any network makes of one.

    Nothing is computed: torch follows the shapes alone, as far as they don't depend on values.
    """
    state = {name: tensor.to("meta") for name, tensor in (*network.named_parameters(), *network.named_buffers())}
    example = torch.empty(*window, device="meta")
    growth = Growth()  # type: ignore[no-untyped-call]
    unknown = suppress(NotImplementedError, RuntimeError)  # what shapes alone don't tell, and all that comes from there
    with unknown, torch.inference_mode(), growth:
        torch.func.functional_call(network, state, (example,))
    pixels = window[0] * window[2] * window[3]
    if growth.most > SMALL + WIDEST * pixels:
        raise ModelError(
            "the network makes far more of a window than any does",
            expected=f"{WIDEST} values of a px at most",
            got=f"{growth.most // pixels}",
            hint="check 'model' in params.yaml",
        )
