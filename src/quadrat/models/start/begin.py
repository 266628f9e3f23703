"""Gives a network the weights that it starts from, and says in a table which those are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from rich.table import Table
from torch import Tensor

from quadrat.errors import ModelError
from quadrat.models.common.trainable import TrainableModule
from quadrat.models.start.given import OWN, Given
from quadrat.models.start.matching import beginning, over_bands, over_classes, paired, unshared
from quadrat.models.start.section import Part
from quadrat.models.start.weight_files import some
from quadrat.runtime.progress import console

HEAD = ("segmentation_head.1.", "segmentation_head.")
"""Our segmenters' last layer has dropout before it, and so another name than those of segmentation-models-pytorch."""

ENCODER, REST = "encoder", "decoder and heads"


@dataclass(frozen=True)
class Names:
    """Bands and classes of a network, and which of its weights depend on their number."""

    bands: Sequence[str]
    classes: Sequence[str]
    by_band: frozenset[str]
    """Weights with an entry for each band in their second dimension."""
    by_class: frozenset[str]
    """Weights whose shape depends on the number of classes."""


@dataclass
class Begun:
    """What was taken of the weights given, as counts of weights, and which of the network's have them as they are."""

    source: str
    taken: set[str] = field(default_factory=set)
    adapted: set[str] = field(default_factory=set)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """Of each part of the network: taken, adapted and left at random."""
    notes: list[str] = field(default_factory=list)
    random: list[str] = field(default_factory=list)
    """Weights behind the encoder that are random, and classes that the weights don't know."""

    def show(self) -> None:
        """Print it."""
        table = Table("weights of", "taken", "adapted", "new", box=None, padding=(0, 1, 0, 0))
        for part, counts in self.counts.items():
            table.add_row(part, *(str(counts[what]) for what in ("taken", "adapted", "new")))
        console.print(f"start from {self.source}", markup=False, highlight=False, soft_wrap=True)
        console.print(table)
        for note in self.notes:
            console.print(note, markup=False, highlight=False, soft_wrap=True)

    def check_whole(self) -> None:
        """Raise ModelError where what the encoder has seen goes through random weights."""
        if self.random:
            raise ModelError(
                "without training, a part of the network would be random",
                file=self.source,
                expected="weights of the whole network, and of its classes",
                got=f"{len(self.random)} that are not there: {some(self.random)}",
                hint="let it learn (epochs), or name what the weights know in model.start.classes",
            )


def begin(network: TrainableModule, given: Given, names: Names, part: Part) -> Begun:
    """Give ``network`` the weights ``given``, as far as they fit.

    Raises ModelError if none is the encoder's, if bands are unknown, if a layer of the encoder has another shape, so
    that they are of another encoder, or if a weight is no finite number.
    """
    own = {name: value for name, value in network.state_dict().items() if name not in OWN and is_learnt(name)}
    inside = [name for name in own if name.startswith(network.encoder_path) and name not in names.by_class]
    rest = [name for name in own if name not in {*inside}]
    wanted = dict(zip(inside, unshared(inside), strict=True))
    before = beginning(wanted.values(), given.tensors) if given.prefix is None else given.prefix
    found = paired(wanted, given.tensors, before)
    if not found:
        raise _of_no_encoder(inside, given, before)
    if part == "network":  # what is behind the encoder begins as the encoder does, or less
        further = {_called(name): name for name in given.tensors if name not in {*found.values()}}
        called = {name: _called(name) for name in rest}
        pairs = paired(called, further, beginning(called.values(), further, within=before))
        found |= {name: further[theirs] for name, theirs in pairs.items()}
    begun = Begun(given.source)
    state: dict[str, Tensor] = {}
    for name, theirs in found.items():
        _check_values(given.tensors[theirs], own[name].dtype, theirs, given.source)
        weight = _adapted(name, own[name], given.tensors[theirs].detach(), given, names)
        if weight is None and name in inside:
            raise _of_another_encoder(theirs, given, own[name])
        if weight is None:
            continue
        state[name] = weight.to(own[name].dtype)
        same = weight.numel() == given.tensors[theirs].numel() and torch.equal(
            weight.flatten(), given.tensors[theirs].flatten()
        )
        (begun.taken if same else begun.adapted).add(name)
    network.load_state_dict(state, strict=False)
    for where, part_of in ((ENCODER, inside), (REST, rest)):
        begun.counts[where] = {
            "taken": sum(name in begun.taken for name in part_of),
            "adapted": sum(name in begun.adapted for name in part_of),
            "new": sum(name not in state for name in part_of),
        }
    new = [name for name in names.classes if given.classes is not None and name not in given.classes]
    begun.random = [*(name for name in rest if name not in state), *(f"class {name}" for name in new)]
    begun.notes += _notes(given, names)
    if unused := [name for name in given.tensors if is_learnt(name) and name not in {*found.values()}]:
        begun.notes.append(f"{len(unused)} weights that are given are not used: {some(unused)}")
    if before and not before.startswith(network.encoder_path):
        begun.notes.append(f"the names of the encoder's weights begin with {before}")
    return begun


def _of_no_encoder(inside: Sequence[str], given: Given, before: str) -> ModelError:
    return ModelError(
        "no weight of the encoder is among those to start from",
        file=given.source,
        expected=f"names such as {', '.join(sorted(inside)[:3])}" + (f", that begin with {before}" if before else ""),
        got=some(given.tensors),
        hint="check model.encoder and model.start; model.start.prefix says what the names begin with",
    )


def _of_another_encoder(name: str, given: Given, own: Tensor) -> ModelError:
    return ModelError(
        f"the weights to start from are of another encoder: {name}",
        file=given.source,
        expected=f"the shape {tuple(own.shape)}",
        got=tuple(given.tensors[name].shape),
        hint="set model.encoder to the encoder that they are of",
    )


def is_learnt(name: str) -> bool:
    """Return whether it is more than a count of batches, which layers of normalisation keep."""
    return not name.endswith("num_batches_tracked")


def _called(name: str) -> str:
    """Return what segmentation-models-pytorch or timm calls a weight behind the encoder."""
    return name.removeprefix("body.").replace(*HEAD)


def _adapted(name: str, own: Tensor, weight: Tensor, given: Given, names: Names) -> Tensor | None:
    """Return ``weight`` as the network's; None where it is of another shape, or of classes without names."""
    if name in names.by_band and weight.ndim == own.ndim and weight.ndim > 1:
        _check_bands(weight.shape[1], given, names.bands)
        if list(given.bands) != list(names.bands):
            weight = over_bands(weight.float(), given.bands, names.bands)
    elif name in names.by_class:
        if given.classes is None:
            return None
        by_rows = len(own) == len(names.classes)
        if by_rows:
            hint = "name them in the order of the weights, or none for a new last layer"
            _check_count("classes", len(weight), given.classes, given.source, hint)
        if list(given.classes) != list(names.classes):
            known = {*given.classes} & {*names.classes}
            if not (by_rows and known and weight.shape[1:] == own.shape[1:]):
                return None
            weight = over_classes(own, weight, given.classes, names.classes)
    if own.ndim == 0 and weight.numel() == 1:  # model folders have no arrays without axes
        weight = weight.reshape(())
    return weight if weight.shape == own.shape else None


def _check_bands(count: int, given: Given, mine: Sequence[str]) -> None:
    hint = "name what this project calls them, in the order of the weights: for most, red, green, blue"
    _check_count("bands", count, given.bands, given.source, hint)
    if not {*mine} & {*given.bands}:
        raise ModelError(
            "no band of this project is among those that the weights know",
            file=given.source,
            expected=", ".join(mine),
            got=", ".join(given.bands),
            hint="say in model.start.bands what this project calls them, in the order of the weights",
        )


def _check_count(what: str, count: int, named: Sequence[str], source: str, hint: str) -> None:
    if len(named) != count:
        raise ModelError(
            f"model.start.{what} does not name as many {what} as the weights know",
            file=source,
            expected=f"the names of {count} {what}",
            got=", ".join(named),
            hint=hint,
        )


def _check_values(weight: Tensor, dtype: torch.dtype, name: str, source: str) -> None:
    if not weight.is_floating_point() or weight.element_size() < 2 or weight.layout != torch.strided or weight.is_meta:
        raise ModelError(
            f"weights to start from are not numbers that a network learns with: {name}",
            file=source,
            expected="float16, bfloat16, float32 or float64",
            got=f"{weight.dtype}, {weight.layout}".replace("torch.", ""),
            hint="save them as float32",
        )
    finite = torch.isfinite(weight.to(dtype))
    if not bool(finite.all()):
        raise ModelError(
            f"weights to start from are not finite: {name}",
            file=source,
            expected=f"finite values of {dtype}".replace("torch.", ""),
            got=f"{int((~finite).sum())} of {weight.numel()} are NaN or infinite",
            hint="fetch the file again",
        )


def _notes(given: Given, names: Names) -> list[str]:
    """Return what was read of the weights, and a line on bands and one on classes."""
    found = [*given.notes, _line("bands", names.bands, given.bands, "the mean of the others", "not here")]
    if given.classes is not None:
        found.append(_line("classes", names.classes, given.classes, "new", "not here"))
    return found


def _line(what: str, mine: Sequence[str], theirs: Sequence[str], new: str, gone: str) -> str:
    both: Mapping[str, list[str]] = {
        "by name": [name for name in mine if name in theirs],
        new: [name for name in mine if name not in theirs],
        gone: [name for name in theirs if name not in mine],
    }
    return f"{what}: " + "; ".join(f"{how}: {', '.join(some)}" for how, some in both.items() if some)
