"""Fewer cases than a full product, for axes that the code takes apart from each other."""

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any


def pairs(*axes: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return some of the product of ``axes``, in its order: each value of an axis meets each value of every other."""
    cases = [tuple(enumerate(places)) for places in product(*(range(len(axis)) for axis in axes))]
    meeting = {case: set(combinations(case, 2)) for case in cases}
    wanted, chosen = set().union(*meeting.values()), set()
    while wanted:
        best = max(cases, key=lambda case: len(meeting[case] & wanted))
        chosen.add(best)
        wanted -= meeting[best]
    return [tuple(axes[axis][place] for axis, place in case) for case in cases if case in chosen]
