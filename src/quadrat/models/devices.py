"""Where networks run, and in which precision."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch


@cache
def device() -> torch.device:
    """Return the best device there is: CUDA, Apple's, or the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def autocast() -> AbstractContextManager[Any]:
    """Return the context of the device's precision: half on CUDA, float32 elsewhere (faster there)."""
    if device().type != "cuda":
        return nullcontext()
    return torch.autocast("cuda", torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)


def precision() -> Any:
    """Return the same for Lightning."""
    if device().type != "cuda":
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
