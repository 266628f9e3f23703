"""quadrat index: pins all remote objects of the catalog in their current state."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.text import Text

from quadrat.errors import PinError
from quadrat.runtime.files import replaced
from quadrat.runtime.progress import Terminal, print_error, warn
from quadrat.scenes.catalog import read_catalog
from quadrat.scenes.pins import asked, companions, objects, read_pins, written
from quadrat.scenes.stamps import Stamp

SIGNS = {"new": "green", "changed": "yellow", "dropped": "yellow"}
"""The states of a pin, and their colours."""


def index(scenes: Path, pins: Path, *, write: bool) -> bool:
    """List differences to the file ``pins``, and rewrite it if ``write``; return whether there were none.

    Raises PinError, and writes nothing, if an object is missing or its server does not answer.
    """
    old, now = read_pins(pins), _there(objects(read_catalog(scenes), strict=True))
    out = Terminal()
    for sign, address, about in _differences(old, now):
        out.print(Text.assemble((f"{sign:<8}", SIGNS[sign]), f"{address}  {about}"), soft_wrap=True)
    vague = [address for address, stamp in now.items() if not stamp.etag and not stamp.modified]
    if vague:
        more = f" and {len(vague) - 1} more" * (len(vague) > 1)
        warn(f"{vague[0]}{more}: the server gives only the size, so other changes go unnoticed", out)
    counts = Counter(sign for sign, _, _ in _differences(old, now))
    kept = len(now) - counts["new"] - counts["changed"]
    summary = ", ".join([*(f"{counts[sign]} {sign}" for sign in ("new", "changed", "dropped")), f"{kept} as pinned"])
    if write and now != old:
        with replaced(pins, synced=True) as part:
            part.write_text(written(now), encoding="utf-8", newline="\n")
    if not now:
        summary += "; all files of the catalog are on this machine"
    elif write and now != old:
        summary += "; commit the file, and run dvc repro"
    out.print(Text(f"{pins}: {summary}", "bold"), soft_wrap=True)
    return now == old


def _there(named: Mapping[str, str]) -> dict[str, Stamp]:
    """Return the stamps of the objects and of their existing companions."""
    beside = {other for address in named for other in companions(address)} - named.keys()
    found, errors = {}, []
    for address, now in asked([*named, *sorted(beside)]):
        if isinstance(now, Stamp):
            found[address] = now
        elif address in named:
            hint = "check the address in the catalog; it may be misspelt, or the object is deleted"
            errors.append(now or PinError("there is no such object", file=address, hint=hint))
            errors[-1].scene = named[address]
    for error in errors[1:]:
        print_error(error)
    if errors:
        raise errors[0]
    return found


def _differences(old: Mapping[str, Stamp], now: Mapping[str, Stamp]) -> Iterator[tuple[str, str, str]]:
    for address in sorted({*old, *now}):
        before, after = old.get(address), now.get(address)
        if after is None:
            yield "dropped", address, "no longer in the catalog"
        elif before is None:
            yield "new", address, str(after)
        elif before != after:
            yield "changed", address, f"{before} → {after}"
