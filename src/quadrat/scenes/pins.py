"""Pins: the state of remote objects, in a file that git keeps.

DVC depends on the file, not on the objects: a renewed pin reruns stages, and an object that differs from its pin stops
them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from quadrat.errors import PinError, QuadratError
from quadrat.geo.sources.channel import is_remote
from quadrat.runtime.progress import track
from quadrat.scenes.scene import Scene
from quadrat.scenes.stamps import Stamp, stamp

AT_ONCE = 16
"""Requests at once; independent of the number of processors."""

BESIDE = (".shx", ".dbf", ".prj", ".cpg")
"""Endings of the other files of a Shapefile (.shp)."""

ADVICE = "`quadrat index` pins what is there, for git to keep"

PINS = TypeAdapter(dict[str, Stamp])


def read_pins(path: Path) -> dict[str, Stamp]:
    """Return the stamps of objects by address; empty without a file. Raises PinError for an invalid file.

    ``str`` of a stamp identifies an object's content.
    """
    if not path.exists():
        return {}
    try:
        return PINS.validate_json(path.read_bytes())
    except ValidationError as cause:
        got = cause.errors()[0]
        where = ": ".join(map(str, (*got["loc"], got["msg"])))
        raise PinError("the file holds no pins", file=path, got=where, hint=f"delete it; {ADVICE}") from cause


def written(pins: Mapping[str, Stamp]) -> str:
    """Return the pins as text that ``read_pins`` reads, one object per line, sorted."""
    lines = [
        f"  {json.dumps(address)}: {json.dumps(pins[address].model_dump(exclude_none=True))}"
        for address in sorted(pins)
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n" if lines else "{}\n"


def check_pins(scenes: Sequence[Scene], path: Path) -> dict[str, str]:
    """Return the stamps of all objects of ``scenes``, by address, from the file at ``path``.

    Raises PinError if an object differs from its pin or is not pinned. Scenes whose files are unknown are left out;
    opening them raises the error.
    """
    named = objects(scenes)
    for error in _errors(named, path):
        raise error
    pins = read_pins(path) if named else {}
    return {one: "; ".join(str(pins[part]) for part in (one, *companions(one)) if part in pins) for one in named}


def pin_errors(scenes: Sequence[Scene], path: Path) -> Iterator[PinError]:
    """Yield the errors of ``check_pins``, one for each kind: changed, gone, unknown, not pinned."""
    yield from _errors(objects(scenes), path)


def _errors(named: Mapping[str, str], path: Path) -> Iterator[PinError]:
    if not named:
        return
    pins = read_pins(path)
    beside = [other for address in named for other in companions(address) if other in pins]
    pinned = [address for address in (*named, *beside) if address in pins]
    found = list(_differing(pinned, pins))
    for problem, group in groupby(sorted(found, key=lambda error: error.problem), key=lambda error: error.problem):
        yield _together(problem, list(group), named)
    missing = [PinError("", file=address) for address in named if address not in pins]
    if missing:
        missing[0].hint = f"{ADVICE} ({path})"
        yield _together("the object is not pinned, so nobody would notice another in its place", missing, named)


def objects(scenes: Iterable[Scene], *, strict: bool = False) -> dict[str, str]:
    """Return the addresses of all remote files of ``scenes``, in order, and the id of the first scene of each.

    If a scene's files are unknown, raise if ``strict``, else leave it out.
    """
    found: dict[str, str] = {}
    every = list(scenes)
    items = any(  # which may be remote, too
        any(source.stac for source in scene.image.sources) or any(labels.kind == "stac" for labels in scene.labels)
        for scene in every
    )
    with ThreadPoolExecutor(AT_ONCE) as pool:
        each = pool.map if items else map
        for scene, files in each(lambda scene: (scene, _files(scene, strict=strict)), every):
            for file in files:
                if is_remote(file):
                    found.setdefault(file, scene.id)
    return found


def companions(address: str) -> list[str]:
    """Return the addresses of the files that may be read together with the one at ``address``."""
    stem = address.removesuffix(".shp")
    return [] if stem == address else [stem + ending for ending in BESIDE]


def asked(addresses: Sequence[str]) -> Iterator[tuple[str, Stamp | PinError | None]]:
    """Yield the current state of objects: a stamp, None if missing, or an error if unknown."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from track(pool.map(_ask, addresses), "pins", len(addresses), "objects")


def _ask(address: str) -> tuple[str, Stamp | PinError | None]:
    try:
        return address, stamp(address)
    except PinError as error:
        return address, error


def _files(scene: Scene, *, strict: bool) -> list[str]:
    try:
        return list(scene.files())
    except QuadratError as error:
        if strict:
            error.scene = error.scene or scene.id
            raise
        return []


def _differing(addresses: Sequence[str], pins: Mapping[str, Stamp]) -> Iterator[PinError]:
    for address, now in asked(addresses):
        pin = pins[address]
        if isinstance(now, PinError):
            yield PinError(now.problem, file=address, expected=pin, got=now.got, hint=now.hint)
        elif now is None:
            hint = f"bring it back, or take it out of the catalog; then {ADVICE}"
            yield PinError("the object is gone", file=address, expected=pin, got="no such object", hint=hint)
        elif now != pin:
            hint = f"bring the pinned one back, or take the new one: {ADVICE}"
            yield PinError("the object is another than is pinned", file=address, expected=pin, got=now, hint=hint)


def _together(problem: str, errors: Sequence[PinError], scenes: Mapping[str, str]) -> PinError:
    """Return the first error of a kind, with the number of others."""
    first, more = errors[0], len(errors) - 1
    rest = f" (and {more} more: `quadrat index --check` lists all)" if more else ""
    return PinError(
        problem + rest, scenes.get(str(first.file)), first.file, None, first.expected, first.got, first.hint
    )
