"""A folder that is a project, with plugins of tests."""

import textwrap
from pathlib import Path

LOSSES = """
    from __future__ import annotations

    import os
    from dataclasses import dataclass
    from os import system
    from typing import Literal

    import torch
    from torch.nn.functional import cross_entropy

    @dataclass
    class Focal:
        gamma: float = 2.0
        reduce: Literal["labels", "mean"] = "labels"

        def __call__(self, outputs, truth, mask):
            loss = cross_entropy(outputs, truth, reduction="none")
            loss = (1 - (-loss).exp()) ** self.gamma * loss
            return loss if self.reduce == "labels" else loss[mask].mean()

    class Weighted:
        def __init__(self, weights: tuple[float, ...], *, scale: float):
            self.weights, self.scale = weights, scale

    def constant(value: float = 1.0):
        return lambda outputs, truth, mask: torch.tensor(value)

    def squared():
        return lambda outputs, truth, mask: (outputs - truth) ** 2

    def shapeless():
        return lambda outputs, truth, mask: outputs.reshape(-1)

    def broken():
        raise KeyError("no such thing")

    def nothing():
        return None

    def _hidden():
        return None
    """


def project(folder: Path, **modules: str) -> Path:
    """Make a folder a project, and write its modules of plugins."""
    (folder / "plugins").mkdir(parents=True, exist_ok=True)
    (folder / "dvc.yaml").touch()
    for name, source in modules.items():
        (folder / "plugins" / f"{name}.py").write_text(textwrap.dedent(source))
    return folder
