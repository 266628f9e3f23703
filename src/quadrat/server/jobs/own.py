"""What a server has alone: a folder of jobs, and a copy of its bundle, which may be replaced while it runs."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from quadrat.errors import BusyError, QuadratError
from quadrat.runtime.process import sole_writer
from quadrat.server.limits import Place

MOST = 64
"""Servers that may share a cache."""


@contextmanager
def owned(place: Place, bundle: Path) -> Iterator[tuple[Place, Path]]:
    """Give the folders of a server with jobs that no other one has, and a copy of ``bundle``.

    The first server of a cache has the folder ``jobs``, the second of those that run at once ``jobs-2``, and so on:
    a server that starts goes on with what an ended one has left in its folder. Raises QuadratError if the cache can't
    be written.
    """
    with ExitStack() as stack:
        try:
            jobs = _claimed(place.jobs, stack)
            copy = _copied(bundle, jobs.with_name(f"{jobs.name}-bundle"))
        except BusyError:
            raise
        except OSError as error:
            raise QuadratError(
                "the cache folder can't be written",
                file=place.jobs.parent,
                got=error.strerror or error,
                hint="give another --cache",
            ) from error
        yield replace(place, jobs=jobs), copy


def _claimed(jobs: Path, stack: ExitStack) -> Path:
    for number in range(1, MOST + 1):
        folder = jobs if number == 1 else jobs.with_name(f"{jobs.name}-{number}")
        try:
            stack.enter_context(sole_writer("serve", folder, jobs.with_name(f".lock-{folder.name}")))
        except BusyError:
            if number == MOST:
                raise
            continue
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    raise AssertionError(MOST)


def _copied(bundle: Path, folder: Path) -> Path:
    """Copy a bundle to a folder that holds nothing else, and return the copy, which is called alike."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return Path(shutil.copyfile(bundle, folder / bundle.name))
