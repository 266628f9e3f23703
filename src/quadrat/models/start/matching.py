"""Which weight of a network is which of those given, and how one is brought to other bands and classes, by name."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from quadrat.errors import ModelError


def paired(wanted: Mapping[str, str], given: Iterable[str], prefix: str | None = None) -> dict[str, str]:
    """Return the given name of each key of ``wanted`` that has one; its value is what the name ends with.

    All are dotted paths. The given names begin with ``prefix``, or, if it is None, with whatever makes most of them
    wanted names. Libraries flatten lists (``stages_0.conv`` for ``stages.0.conv``), so that underscores stand for dots.

    Raises ModelError where as many have another beginning, such as those of a teacher beside those of a student.
    """
    asked = {_plain(called): name for name, called in wanted.items()}
    offered = {_plain(name): name for name in given}
    before = _only(_beginnings(asked, offered), offered) if prefix is None else _plain(prefix)
    return {name: offered[before + short] for short, name in asked.items() if before + short in offered}


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


def unshared(names: Sequence[str]) -> list[str]:
    """Return dotted ``names`` without the first components that all of them share."""
    found = list(names)
    while len(found) > 1 and len({name.partition(".")[0] for name in found}) == 1 and all("." in n for n in found):
        found = [name.partition(".")[2] for name in found]
    return found


def _plain(name: str) -> str:
    return name.replace("_", ".")


def count(wanted: Iterable[str], given: Iterable[str]) -> int:
    """Return how many names of ``wanted`` would be ``paired``."""
    return max(_beginnings({*map(_plain, wanted)}, map(_plain, given)).values(), default=0)


def _beginnings(asked: Container[str], offered: Iterable[str]) -> Counter[str]:
    """Return under which beginnings names of ``offered`` are asked for, and how many under each."""
    found: Counter[str] = Counter()
    for name in offered:
        parts = name.split(".")
        for number in range(len(parts)):
            if ".".join(parts[number:]) in asked:
                found["".join(f"{part}." for part in parts[:number])] += 1
    return found


def _only(found: Counter[str], offered: Mapping[str, str]) -> str:
    """Return the commonest of the beginnings ``found``."""
    if not found:
        return ""
    (best, most), *others = found.most_common()
    alike = [best, *(beginning for beginning, many in others if many == most)]
    if len(alike) > 1:
        names = [next(name[: len(one)] for short, name in offered.items() if short.startswith(one)) for one in alike]
        raise ModelError(
            "the weights to start from hold the same layers more than once",
            expected="one set of them, or model.start.prefix",
            got=f"{most} that begin with " + ", and as many with ".join(repr(name) for name in names),
            hint="set model.start.prefix to one of them; model.start.part: encoder leaves out all but the encoder",
        )
    return best
