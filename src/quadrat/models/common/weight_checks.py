"""Checks a network that a file describes against its weights, before it takes memory or time."""

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
"""Number of values, beside the weights, that building a network may allocate; encoders are built whole, then cut."""

TIMES = 4
"""How many copies of its weights building may allocate."""

WIDEST = 1024
"""Largest number of values per px of one tensor, beside SMALL; real networks rarely exceed 256."""

SMALL = 1 << 24
"""Allowance, in values, for tensors that do not grow with the window."""


class OverBudgetError(RuntimeError):
    """Building needs more values than the budget."""


class Budget(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's, as below
    """Limits the total number of values of new tensors; those on the device ``meta`` are free."""

    def __init__(self, values: int) -> None:
        """Start with a budget of ``values``."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._left = values

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Subtract the values that ``func`` will allocate from the budget, before it runs."""
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
    """Records the largest tensor that is larger than the tensors it was computed from."""

    most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run ``func`` and record the size of its results."""
        del types
        made = func(*args, **(kwargs or {}))
        before = max((leaf.numel() for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)), default=0)
        after = max((leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, Tensor)), default=0)
        if after > before:
            self.most = max(self.most, after)
        return made


def budget(weights: Mapping[str, NDArray[Any]]) -> Budget:
    """Return the budget to build a network with these ``weights``."""
    return Budget(SPARE + TIMES * sum(values.size for values in weights.values()))


def check_weights(network: TrainableModule, weights: Mapping[str, NDArray[Any]]) -> None:
    """Raise ModelError if ``weights`` differ from the network's in names, shapes or types, or are not finite.

    Values that are not finite in the network itself (a nodata value of NaN) are allowed.
    """
    built = network.state_dict()
    expected = {name: (tuple(tensor.shape) or (1,), tensor.numpy().dtype.kind) for name, tensor in built.items()}
    given = {name: (values.shape or (1,), values.dtype.kind) for name, values in weights.items()}  # as stored
    wrong = [name for name in sorted({*expected, *given}) if expected.get(name) != given.get(name)]
    if wrong:
        raise ModelError(
            f"the weights are not those of the network: {len(wrong)} arrays differ",
            expected=f"{wrong[0][:200]} {expected.get(wrong[0], 'is no weight of it')}",
            got=given.get(wrong[0], "no such array"),
            hint="fetch or train the model again",
        )
    for name, values in weights.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all() and bool(torch.isfinite(built[name]).all()):
            raise ModelError(
                f"weights of the network are not finite: {name}",
                expected="finite values",
                got=f"{int((~np.isfinite(values)).sum())} of {values.size} are NaN or infinite",
                hint="fetch or train the model again",
            )


def check_room(network: TrainableModule, window: Sequence[int]) -> None:
    """Raise ModelError if a network makes far more values of a ``window`` (chip, band, y, x) than is plausible.

    Nothing is computed; torch only follows the shapes, as far as they do not depend on values.
    """
    state = {name: tensor.to("meta") for name, tensor in (*network.named_parameters(), *network.named_buffers())}
    example = torch.empty(*window, device="meta")
    growth = Growth()  # type: ignore[no-untyped-call]
    # shapes that depend on values, and errors that follow from them
    unknown = suppress(NotImplementedError, RuntimeError)
    with unknown, torch.inference_mode(), growth:
        torch.func.functional_call(network, state, (example,))
    pixels = window[0] * window[2] * window[3]
    if growth.most > SMALL + WIDEST * pixels:
        raise ModelError(
            "the network makes implausibly many values of a window",
            expected=f"at most {WIDEST} values per px",
            got=f"{growth.most // pixels}",
            hint="check 'model' in params.yaml",
        )
