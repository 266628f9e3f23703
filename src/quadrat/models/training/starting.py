"""Gives a network the weights that ``model.start`` names, and freezes what ``model.freeze`` names of them."""

from typing import TYPE_CHECKING

from torch import nn

from quadrat.errors import ModelError
from quadrat.geo.sources.bands import names_of
from quadrat.models.common.model import Inputs
from quadrat.models.common.trainable import TrainableModule
from quadrat.models.start.begin import Begun, Names, begin, is_learnt
from quadrat.models.start.given import read_given
from quadrat.models.training.neural import build
from quadrat.tasks.common.classes import Class
from quadrat.tasks.common.section import TaskSection

if TYPE_CHECKING:
    from quadrat.models.training.neural import Neural

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)  # noqa: SLF001 (the base of all sizes)
"""Layers of normalisation; those of timm are subclasses."""

ANOTHER = "another name that nothing has"
"""The name of a band and a class that a network is built with to see what depends on their number."""


def start(model: "Neural", network: TrainableModule, task: TaskSection, inputs: Inputs) -> Begun:
    """Give ``network``, of ``model``, the weights to start from, and say which it has.

    Raises ModelError if they can't be read, if none fits, or if there is nothing to freeze.
    """
    assert model.start.kind != "none"
    encoder = model.origin()
    given = read_given(model.start, encoder)
    wider = build(model, task, _with_another_band(inputs), seed=0, encoder=encoder)
    more = task.model_copy(update={"classes": (*task.classes, Class(name=ANOTHER, color="#000000"))})
    names = Names(
        names_of(inputs.bands),
        task.names,
        _changed(network, wider),
        _changed(network, build(model, more, inputs, seed=0, encoder=encoder)),
    )
    begun = begin(network, given, names, "network" if model.start.kind == "timm" else model.start.part)
    if model.freeze != "none":
        _freeze(network, begun, norms=model.freeze == "norms")
    return begun


def _freeze(network: TrainableModule, begun: Begun, *, norms: bool) -> None:
    """Mark as not to be trained what the encoder has as it was given: all, or its layers of normalisation alone."""
    modules = [
        (path, one)
        for path, one in network.named_modules()
        if f"{path}.".startswith(network.encoder_path)
        and all(f"{path}.{name}" in begun.taken for name, _ in one.named_buffers(recurse=False) if is_learnt(name))
    ]
    if norms:
        modules = [(path, one) for path, one in modules if isinstance(one, NORMS)]
    inside = {f"{path}.{name}" for path, one in modules for name, _ in one.named_parameters(recurse=False)}
    network.frozen = frozenset(inside & begun.taken)
    if not network.frozen:
        raise ModelError(
            "model.freeze finds nothing to freeze",
            file=begun.source,
            expected="layers of normalisation in the encoder"
            if norms
            else "weights of the encoder, as they were given",
            got=f"{len(inside)} weights, of which none was taken as it is",
            hint="set model.freeze to none",
        )
    network.still = tuple(
        path for path, one in modules if all(f"{path}.{name}" in network.frozen for name, _ in one.named_parameters())
    )


def _with_another_band(inputs: Inputs) -> Inputs:
    dates = list(dict.fromkeys(band.date for band in inputs.bands))
    count = len(inputs.statistics)
    bands = [
        band
        for number, date in enumerate(dates)
        for band in (
            *inputs.bands[number * count : (number + 1) * count],
            inputs.bands[0].model_copy(update={"name": ANOTHER, "date": date}),
        )
    ]
    return Inputs(tuple(bands), (*inputs.statistics, inputs.statistics[0].model_copy(update={"band": ANOTHER})))


def _changed(network: TrainableModule, other: TrainableModule) -> frozenset[str]:
    """Return the weights whose shapes differ."""
    theirs = {name: value.shape for name, value in other.state_dict().items()}
    return frozenset(name for name, value in network.state_dict().items() if theirs.get(name) != value.shape)


__all__ = ["start"]
