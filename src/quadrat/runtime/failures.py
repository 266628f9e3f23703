"""Faults told together: what differs in nothing but scene and file is one."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NoReturn, TypeVar

from quadrat.errors import QuadratError
from quadrat.runtime.parallel import Outcome
from quadrat.runtime.progress import print_error

Result = TypeVar("Result")

MOST_FILES = 3
"""Most files that one fault names."""


def raise_all(faults: Sequence[QuadratError]) -> None:
    """Raise the first of the faults, if there is one; the others are told before."""
    together = merged(faults)
    for fault in together[1:]:
        print_error(fault)
    if together:
        raise together[0]


def succeeded(scenes: Iterable[str], outcomes: Iterable[Outcome[Result]]) -> Iterator[Result]:
    """Give the results of those scenes (their ids, one for each outcome) that have one.

    When all are done, raise the first error, if there is one; the others are told before. What is no fault of the
    data (a full disk, a mistake of this program) comes first.
    """
    errors: dict[str, Exception] = {}
    for scene, outcome in zip(scenes, outcomes, strict=True):
        if outcome.error is None:
            yield outcome.result()
        else:
            errors.setdefault(scene, outcome.error)
    if errors:
        _stop(errors)


def merged(faults: Sequence[QuadratError]) -> list[QuadratError]:
    """Return the faults in order, those that differ in nothing but scene and file as one."""
    groups: dict[Hashable, list[QuadratError]] = {}
    for fault in faults:
        got = str(fault.got).replace(str(fault.file), "…")
        key = type(fault), fault.problem, str(fault.window), str(fault.expected), got, fault.hint
        groups.setdefault(key, []).append(fault)
    return [group[0] if len(group) == 1 else _together(group) for group in groups.values()]


def _together(group: Sequence[QuadratError]) -> QuadratError:
    scenes = list(dict.fromkeys(str(fault.scene) for fault in group if fault.scene is not None))
    files = list(dict.fromkeys(str(fault.file) for fault in group if fault.file is not None))
    more = [f"and {len(files) - MOST_FILES} more"] * (len(files) > MOST_FILES)
    return replace(
        group[0], scene=", ".join(scenes) or None, file=", ".join([*files[:MOST_FILES], *more]) or None
    ).with_traceback(group[0].__traceback__)


def _stop(errors: Mapping[str, Exception]) -> NoReturn:
    faults, others = [], []
    for scene, error in errors.items():
        if isinstance(error, QuadratError):
            error.scene = error.scene or scene
            faults.append(error)
        else:
            error.add_note(f"scene: {scene}")
            others.append(error)
    if not others:
        raise_all(faults)
    for one in (*others[1:], *merged(faults)):
        print_error(one)
    raise others[0]
