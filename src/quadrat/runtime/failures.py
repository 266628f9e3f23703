"""Reports errors of many scenes together; errors that differ only in scene and file become one."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NoReturn, TypeVar

from quadrat.errors import QuadratError
from quadrat.runtime.parallel import Outcome
from quadrat.runtime.progress import print_error

Result = TypeVar("Result")

MOST_FILES = 3
"""Number of files that an error names."""


def raise_all(errors: Sequence[QuadratError]) -> None:
    """Print all errors but the first, and raise the first; do nothing without errors."""
    together = merged(errors)
    for error in together[1:]:
        print_error(error)
    if together:
        raise together[0]


def succeeded(scenes: Iterable[str], outcomes: Iterable[Outcome[Result]]) -> Iterator[Result]:
    """Yield the results of the scenes that succeeded; ``scenes`` are the ids, one per outcome.

    After the last, print all errors but the first, and raise the first. Errors that are not about the data (a full
    disk, a bug) come first.
    """
    errors: dict[str, Exception] = {}
    for scene, outcome in zip(scenes, outcomes, strict=True):
        if outcome.error is None:
            yield outcome.result()
        else:
            errors.setdefault(scene, outcome.error)
    if errors:
        _stop(errors)


def merged(errors: Sequence[QuadratError]) -> list[QuadratError]:
    """Return the errors in order; errors that differ only in scene and file become one."""
    groups: dict[Hashable, list[QuadratError]] = {}
    for error in errors:
        got = str(error.got).replace(str(error.file), "…")
        key = type(error), error.problem, str(error.window), str(error.expected), got, error.hint
        groups.setdefault(key, []).append(error)
    return [group[0] if len(group) == 1 else _together(group) for group in groups.values()]


def _together(group: Sequence[QuadratError]) -> QuadratError:
    scenes = list(dict.fromkeys(str(error.scene) for error in group if error.scene is not None))
    files = list(dict.fromkeys(str(error.file) for error in group if error.file is not None))
    more = [f"and {len(files) - MOST_FILES} more"] * (len(files) > MOST_FILES)
    return replace(
        group[0], scene=", ".join(scenes) or None, file=", ".join([*files[:MOST_FILES], *more]) or None
    ).with_traceback(group[0].__traceback__)


def _stop(errors: Mapping[str, Exception]) -> NoReturn:
    ours, others = [], []
    for scene, error in errors.items():
        if isinstance(error, QuadratError):
            error.scene = error.scene or scene
            ours.append(error)
        else:
            error.add_note(f"scene: {scene}")
            others.append(error)
    if not others:
        raise_all(ours)
    for one in (*others[1:], *merged(ours)):
        print_error(one)
    raise others[0]
