"""Finds the bands that a model takes by their names, in a file or an array."""

from collections.abc import Sequence
from dataclasses import dataclass

from quadrat.errors import ImageError
from quadrat.geo.sources.bands import Band


@dataclass(frozen=True)
class Holder:
    """What holds bands, for errors."""

    name: str
    option: str
    """What names its bands, if it doesn't."""
    hint: str
    file: str | None = None


def places(names: Sequence[str | None], count: int, learnt: Sequence[Band], holder: Holder) -> list[int]:
    """Return where the model's bands are among ``count`` bands that are called ``names``, from 0.

    Raises ImageError if bands have no names, or not each of the model's is there once.
    """
    what, expected = holder.name, ", ".join(band.name for band in learnt)
    called = ", ".join(map(str, names))
    if len(names) != count:
        problem = f"{holder.option} must name each band of {what}"
        raise ImageError(problem, file=holder.file, expected=f"{count} names", got=called)
    if not any(names):
        problem, got = f"{what} doesn't say which band is which", f"{count} bands without descriptions"
        raise ImageError(problem, file=holder.file, expected=expected, got=got, hint=holder.hint)
    for band in learnt:
        if names.count(band.name) != 1:
            problem = f"{what} has {'several bands' if band.name in names else 'no band'} {band.name}"
            raise ImageError(problem, file=holder.file, expected=expected, got=called, hint=holder.hint)
    return [names.index(band.name) for band in learnt]
