"""Where networks run, and in which precision."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quadrat.errors import ModelError
from quadrat.runtime.parallel import cores

SCENES = 4
"""Scenes under way for a GPU: it works on one, while the next is read and files of those before are finished."""

PRECISIONS = ("fp32", "bf16", "fp16")
"""Float32 throughout, or weights of float32 with bfloat16 or float16 where the network is as good with it."""

STORED = (np.uint8, np.int16, np.uint16, np.float32)
"""Types of pixels that are sent to the device as they are."""

_full = ContextVar("full", default=False)
"""Whether ``in_full`` is in force."""


@cache
def device() -> torch.device:
    """Return the best device there is: CUDA, Apple's, or the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def as_tensor(pixels: NDArray[Any]) -> Tensor:
    """Return raw pixels on the processor, as stored where networks can make float32 of them on their device."""
    kept = pixels.dtype in STORED and pixels.dtype.isnative and device().type != "mps"
    return torch.from_numpy(np.ascontiguousarray(pixels, None if kept else np.float32))


def on_device(pixels: NDArray[Any]) -> Tensor:
    """Return raw pixels on the device."""
    return sent(as_tensor(pixels))


def sent(held: Tensor) -> Tensor:
    """Return a tensor on the device; on CUDA it goes there from pinned memory, and the processor doesn't wait."""
    return held.pin_memory().to(device(), non_blocking=True) if device().type == "cuda" else held.to(device())


class Upload:
    """Sends tensors to the device; on CUDA on a stream of their own, so that they are copied beside what it computes.

    Torch keeps pinned memory, and gives it out again when the copy is done.
    """

    def __init__(self) -> None:
        """Open the stream."""
        self._stream = torch.cuda.Stream() if device().type == "cuda" else None  # type: ignore[no-untyped-call] # its stubs lack it

    def __call__(self, *held: Tensor) -> Callable[[], tuple[Tensor, ...]]:
        """Begin to copy ``held``; the function that is returned gives the copies, and lets only the device wait."""
        with torch.cuda.stream(self._stream):
            there = tuple(map(sent, held))
        if self._stream is None:
            return lambda: there
        copied = self._stream.record_event()

        def arrived() -> tuple[Tensor, ...]:
            here = torch.cuda.current_stream()
            here.wait_event(copied)
            for tensor in there:
                tensor.record_stream(here)  # its memory is free when this stream is done with it
            return there

        return arrived


def fetched(held: Mapping[str, Tensor]) -> Callable[[], dict[str, NDArray[Any]]]:
    """Begin to copy tensors from the device; the function that is returned waits for them, and gives them as arrays."""
    if device().type != "cuda":
        return lambda: {name: values.cpu().numpy() for name, values in held.items()}
    pinned = {name: torch.empty(values.shape, dtype=values.dtype, pin_memory=True) for name, values in held.items()}
    for name, values in held.items():
        pinned[name].copy_(values, non_blocking=True)
    copied = torch.cuda.current_stream().record_event()

    def arrived() -> dict[str, NDArray[Any]]:
        copied.synchronize()
        return {name: values.numpy() for name, values in pinned.items()}

    return arrived


def compiles(*, default: bool = False) -> bool:
    """Return whether torch is to compile networks: the environment's QUADRAT_COMPILE says so, 0 or 1."""
    asked = os.environ.get("QUADRAT_COMPILE")
    return asked != "0" if asked else default


def compiled(network: nn.Module) -> None:
    """Let torch compile the parts of ``network``, in place, where it is to: the first batches take minutes then."""
    if compiles():
        for part in network.children():
            part.compile()


@contextmanager
def in_full() -> Iterator[None]:
    """Let this thread's networks predict in float32, whatever the precision; a GPU doesn't round factors to TF32."""
    before, token = torch.backends.cudnn.allow_tf32, _full.set(True)
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
        _full.reset(token)


def autocast() -> AbstractContextManager[Any]:
    """Return the context of the device's precision: half on CUDA, float32 elsewhere (faster there)."""
    if device().type != "cuda" or precision() == "fp32" or _full.get():
        return nullcontext()
    return torch.autocast("cuda", torch.bfloat16 if precision() == "bf16" else torch.float16)


def precision() -> str:
    """Return what networks compute in, one of PRECISIONS: the environment's QUADRAT_PRECISION, or half on CUDA alone.

    Raises ModelError where the environment names another.
    """
    asked = os.environ.get("QUADRAT_PRECISION")
    if asked and asked not in PRECISIONS:
        raise ModelError("no such precision", expected=", ".join(PRECISIONS), got=asked, hint="set QUADRAT_PRECISION")
    return asked or ("fp32" if device().type != "cuda" else "bf16" if _has_bfloat16() else "fp16")


def forked() -> AbstractContextManager[None]:
    """Return a context after which torch draws, on the processor and the device, as if nothing had been drawn in it.

    Of several GPUs it looks at the one in use alone.
    """
    return torch.random.fork_rng([torch.cuda.current_device()] if device().type == "cuda" else [])


def readers() -> int:
    """Return how many threads are to read for a model: two, but for a GPU, which leaves all processors to them."""
    return min(cores(), 2) if device().type == "cpu" else cores()


def scenes_at_once() -> int:
    """Return how many scenes are to be under way in one process: one, but for a GPU."""
    return SCENES if device().type == "cuda" else 1


def described() -> str:
    """Return what networks run on, in a few words."""
    if device().type != "cuda":
        return f"{device().type}, {torch.get_num_threads()} threads"
    card = torch.cuda.get_device_properties(0)
    return f"{card.name}, {torch.cuda.mem_get_info()[0] / 1e9:.0f} of {card.total_memory / 1e9:.0f} GB free"


def _has_bfloat16() -> bool:
    """Return whether the GPU computes in it; older ones merely emulate it, and are faster in float16."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))
