"""Anchors, and decoding of predicted boxes: left, top, right, bottom in px of the window."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LARGEST = math.log(1000 / 16)
"""Largest growth of an anchor's side, as a logarithm; torchvision's limit."""


def cells(scales: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """Return (anchor, 2), width and height in strides, for each ratio (height / width) and each scale (√(w h))."""
    return torch.tensor([(scale / math.sqrt(ratio), scale * math.sqrt(ratio)) for ratio in ratios for scale in scales])


def anchors(maps: Sequence[Tensor], strides: Sequence[int], cells: Tensor) -> Tensor:
    """Return anchors (location, 4), ordered like the heads' outputs by level, row, column and ``cells`` (anchor, 2).

    Each is centred on a cell of the maps; ``cells`` are in strides. In a traced graph, they follow the maps' size.
    """
    found = []
    for features, stride in zip(maps, strides, strict=True):
        y, x = (stride * (torch.arange(n, device=features.device) + 0.5) for n in features.shape[-2:])
        centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 1, 2)
        half = cells.to(features.device) * stride / 2
        found.append(torch.cat([centres - half, centres + half], -1).reshape(-1, 4))
    return torch.cat(found)


def decoded(codes: Tensor, start: Tensor, scale: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Return boxes (…, 4) of ``codes`` (…, 4) from the boxes ``start`` (…, 4), as in R-CNN (Girshick et al. 2014).

    Codes are the centre's shift in the start's width and height, and logarithms of the sides' growth, both times
    ``scale``.
    """
    sides = start[..., 2:] - start[..., :2]
    centres = start[..., :2] + sides / 2 + codes[..., :2] * scale[0] * sides
    halves = sides / 2 * (codes[..., 2:] * scale[1]).clamp(max=LARGEST).exp()
    return torch.cat([centres - halves, centres + halves], -1)
