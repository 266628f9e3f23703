"""Pins: which objects imagery that isn't on this machine consists of, in a file that git keeps.

DVC sees the file, not the objects: a pin that `quadrat index` has renewed reruns stages, and an object that is another
than its pin stops them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from quadrat.errors import PinError, QuadratError
from quadrat.geo.files.stamps import Stamp, stamp
from quadrat.geo.sources.channel import is_remote
from quadrat.runtime.progress import track
from quadrat.scenes.scene import Scene

AT_ONCE = 16
"""Requests under way; they wait for servers, so this is no matter of processors."""

BESIDE = (".shx", ".dbf", ".prj", ".cpg")
"""Files that a Shapefile (.shp) may consist of beside its own."""

ADVICE = "`quadrat index` pins what is there, for git to keep"

PINS = TypeAdapter(dict[str, Stamp])


def read_pins(path: Path) -> dict[str, Stamp]:
    """Return the stamps of objects by their addresses; none where there is no file. Raise PinError for another file.

    ``str`` of a stamp tells an object's content: what is made of it is good as long as that is the same.
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
    """Return the pins as a file that ``read_pins`` reads, an object on each line, sorted."""
    lines = [
        f"  {json.dumps(address)}: {json.dumps(pins[address].model_dump(exclude_none=True))}"
        for address in sorted(pins)
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n" if lines else "{}\n"


def check_pins(scenes: Sequence[Scene], path: Path) -> dict[str, str]:
    """Return what tells the content of each object of ``scenes``, by address: as it is pinned in the file at ``path``.

    Raise PinError where an object is another than is pinned there, or isn't pinned. Where a scene's files can't be
    found out, that is told where it is opened.
    """
    named = objects(scenes)
    for fault in _faults(named, path):
        raise fault
    pins = read_pins(path) if named else {}
    return {one: "; ".join(str(pins[part]) for part in (one, *companions(one)) if part in pins) for one in named}


def pin_faults(scenes: Sequence[Scene], path: Path) -> Iterator[PinError]:
    """Give what ``check_pins`` raises, one error for each sort of fault: changed, gone, unknown, not pinned."""
    yield from _faults(objects(scenes), path)


def _faults(named: Mapping[str, str], path: Path) -> Iterator[PinError]:
    if not named:
        return
    pins = read_pins(path)
    beside = [other for address in named for other in companions(address) if other in pins]
    pinned = [address for address in (*named, *beside) if address in pins]
    found = list(_differing(pinned, pins))
    for problem, group in groupby(sorted(found, key=lambda fault: fault.problem), key=lambda fault: fault.problem):
        yield _together(problem, list(group), named)
    missing = [PinError("", file=address) for address in named if address not in pins]
    if missing:
        missing[0].hint = f"{ADVICE} ({path})"
        yield _together("the object is not pinned, so nobody would notice another in its place", missing, named)


def objects(scenes: Iterable[Scene], *, strict: bool = False) -> dict[str, str]:
    """Return the addresses of all that ``scenes`` have elsewhere, in order, and the id of the first scene of each.

    Where a scene's files can't be found out, raise if ``strict``, else leave it out.
    """
    found: dict[str, str] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:  # STAC items may be elsewhere too
        for scene, files in pool.map(lambda scene: (scene, _files(scene, strict=strict)), scenes):
            for file in files:
                if is_remote(file):
                    found.setdefault(file, scene.id)
    return found


def companions(address: str) -> list[str]:
    """Return the addresses of the files that may be read together with the one at ``address``."""
    stem = address.removesuffix(".shp")
    return [] if stem == address else [stem + ending for ending in BESIDE]


def asked(addresses: Sequence[str]) -> Iterator[tuple[str, Stamp | PinError | None]]:
    """Give what servers say of objects now: a stamp, None where there is none, or why it isn't known."""
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


def _together(problem: str, faults: Sequence[PinError], scenes: Mapping[str, str]) -> PinError:
    """Return the first of faults of one sort, which says how many there are."""
    first, more = faults[0], len(faults) - 1
    rest = f" (and {more} more: `quadrat index --check` lists all)" if more else ""
    return PinError(
        problem + rest, scenes.get(str(first.file)), first.file, None, first.expected, first.got, first.hint
    )
