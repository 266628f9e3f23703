"""Which weight of a network is which of those given, and how one is brought to other bands and classes, by name."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from quadrat.errors import ModelError


def paired(wanted: Mapping[str, str], given: Iterable[str], before: str) -> dict[str, str]:
    """Return the given name of each key of ``wanted`` that has one: ``before`` and then the key's value.

    All are dotted paths. Libraries flatten lists (``stages_0.conv`` for ``stages.0.conv``), so that underscores stand
    for dots. Raises ModelError if two given names are the same then.
    """
    offered: dict[str, list[str]] = {}
    for name in given:
        offered.setdefault(plain(name), []).append(name)
    found = {name: offered.get(plain(before) + plain(called), []) for name, called in wanted.items()}
    for alike in found.values():
        if len(alike) > 1:
            raise ModelError(
                "weights to start from have names that say the same",
                expected="one name for each layer",
                got=", ".join(alike),
                hint="leave one of them out of the file",
            )
    return {name: alike[0] for name, alike in found.items() if alike}


def over_bands(weight: Tensor, theirs: Sequence[str], mine: Sequence[str]) -> Tensor:
    """Return a first layer's ``weight`` (out, band, …) of the bands ``theirs`` as that of the bands ``mine``.

    A band of the same name keeps its filter. A band that the weights lack gets the mean of the filters of those that
    are there. A band that the project lacks is taken for the mean of those that are there, so they share its filter
    out. The sum of the filters stays, so that the layer's answer to a pixel that is the same in all bands does.
    """
    total = weight.sum(1)
    there = [name for name in mine if name in theirs]
    if not there:
        return (total / len(mine)).unsqueeze(1).repeat_interleave(len(mine), 1)
    lacking = [number for number, name in enumerate(theirs) if name not in mine]
    shared = weight[:, lacking].sum(1) / len(there) if lacking else torch.zeros_like(total)
    mean = total / len(there)
    filters = [weight[:, theirs.index(name)] + shared if name in theirs else mean for name in mine]
    return torch.stack(filters, 1) * (len(there) / len(mine))


def over_classes(new: Tensor, weight: Tensor, theirs: Sequence[str], mine: Sequence[str]) -> Tensor:
    """Return a last layer (class, …): ``weight`` of the classes ``theirs`` that are ``mine``, else ``new``'s."""
    rows = [weight[theirs.index(name)] if name in theirs else new[number] for number, name in enumerate(mine)]
    return torch.stack(rows)


def beginning(wanted: Iterable[str], given: Iterable[str], within: str | None = None) -> str:
    """Return what makes most of the ``given`` names wanted ones if they begin so; without one, ''.

    ``within`` begins with it, if that is not None. Raises ModelError where as many have another beginning, such as
    those of a teacher beside those of a student.
    """
    names = [*given]
    found = _beginnings({*map(plain, wanted)}, map(plain, names))
    fitting = [(b, many) for b, many in found.most_common() if within is None or plain(within).startswith(b)]
    alike = [b for b, many in fitting if many == fitting[0][1]]
    if len(alike) > 1:
        alike = [next(name[: len(b)] for name in names if plain(name).startswith(b)) for b in alike]
        raise ModelError(
            "the weights to start from hold the same layers more than once",
            expected="one set of them, or model.start.prefix",
            got=f"{fitting[0][1]} that begin with " + ", and as many with ".join(map(repr, alike)),
            hint="set model.start.prefix to one of them",
        )
    return alike[0] if alike else ""


def count(wanted: Iterable[str], given: Iterable[str]) -> int:
    """Return how many names of ``wanted`` are among those given, under the commonest beginning."""
    return max(_beginnings({*map(plain, wanted)}, map(plain, given)).values(), default=0)


def plain(name: str) -> str:
    """Return a name in which underscores are dots."""
    return name.replace("_", ".")


def unshared(names: Sequence[str]) -> list[str]:
    """Return dotted ``names`` without the first components that all of them share."""
    found = list(names)
    while len(found) > 1 and len({name.partition(".")[0] for name in found}) == 1 and all("." in n for n in found):
        found = [name.partition(".")[2] for name in found]
    return found


def _beginnings(asked: Container[str], offered: Iterable[str]) -> Counter[str]:
    """Return under which beginnings names of ``offered`` are asked for, and how many under each."""
    found: Counter[str] = Counter()
    for name in offered:
        parts = name.split(".")
        for number in range(len(parts)):
            if ".".join(parts[number:]) in asked:
                found["".join(f"{part}." for part in parts[:number])] += 1
    return found
