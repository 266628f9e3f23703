"""Gives weights of an encoder the names that timm gives them, if those who published them named them otherwise."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from quadrat.models.common.devices import forked
from quadrat.models.common.encoders import Encoder
from quadrat.models.start.matching import beginning, count, paired

EFFICIENTNET = {
    "conv_stem": "_conv_stem",
    "bn1": "_bn0",
    "conv_head": "_conv_head",
    "bn2": "_bn1",
    "classifier": "_fc",
}
"""What efficientnet-pytorch, and segmentation-models-pytorch with it, call timm's layers around the blocks."""

SQUEEZE = {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}

SEPARABLE = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2", **SQUEEZE}
"""Likewise, those of a block that doesn't expand."""

EXPANDING = {
    "conv_pw": "_expand_conv",
    "bn1": "_bn0",
    "conv_dw": "_depthwise_conv",
    "bn2": "_bn1",
    "conv_pwl": "_project_conv",
    "bn3": "_bn2",
    **SQUEEZE,
}
"""Likewise, those of a block that does."""


def in_names_of_timm(tensors: Mapping[str, Tensor], encoder: Encoder) -> Mapping[str, Tensor]:
    """Return ``tensors``, those of ``encoder`` by timm's names if most of them have others that are known.

    Known are the names of efficientnet-pytorch, and those that timm itself converts (DINOv3, ConvNeXt, Swin, …).
    """
    import timm

    with forked():
        body: Any = timm.create_model(encoder.name, num_classes=0, **encoder.arguments)
    names = [*body.state_dict()]
    best, most = tensors, count(names, tensors)
    for convert in (_of_efficientnet, _by_timm) if most <= len(names) / 2 else ():
        found = convert(tensors, body)
        if (known := count(names, found)) > most:
            best, most = found, known
    return best


def _of_efficientnet(tensors: Mapping[str, Tensor], body: Any) -> dict[str, Tensor]:
    called = dict(_efficientnet([*body.state_dict()]))
    before = beginning(called.values(), tensors)
    found = paired(called, tensors, before)
    theirs = {*found.values()}
    others = {name: value for name, value in tensors.items() if name not in theirs}
    return others | {before + name: tensors[given] for name, given in found.items()}


def _efficientnet(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield timm's names of an EfficientNet's weights, each with efficientnet-pytorch's, which numbers all blocks."""
    names = [*names]
    blocks = list(dict.fromkeys(".".join(name.split(".")[:3]) for name in names if name.startswith("blocks.")))
    for name in names:
        block = next((number for number, one in enumerate(blocks) if name.startswith(f"{one}.")), None)
        layer, _, leaf = (name if block is None else name.removeprefix(f"{blocks[block]}.")).rpartition(".")
        if block is None:
            called = EFFICIENTNET.get(layer)
        else:
            expands = f"{blocks[block]}.conv_pwl.weight" in names
            called = (EXPANDING if expands else SEPARABLE).get(layer)
        if called:
            yield name, f"{called}.{leaf}" if block is None else f"_blocks.{block}.{called}.{leaf}"


def _by_timm(tensors: Mapping[str, Tensor], body: Any) -> Mapping[str, Tensor]:
    convert: Callable[..., Mapping[str, Tensor]] | None
    convert = getattr(sys.modules[type(body).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        return {str(name): value for name, value in convert(dict(tensors), body).items()}
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):  # they are others still
        return tensors
