"""What was measured, as a table, as JSON and as a chart of bars."""

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.rows import Row

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"

LIBRARIES = ("quadrat", "numpy", "rasterio", "torch", "torchvision", "pytorch-lightning", "pyarrow")


def machine() -> dict[str, Any]:
    """Return what the figures hold for: the machine, the versions and the day."""
    import psutil
    import rasterio

    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8").splitlines() if cpu.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": " ".join([platform.system(), platform.release().partition("-")[0]]),
        "python": platform.python_version(),
        "gdal": rasterio.__gdal_version__,
        **{name: version(name) for name in LIBRARIES},
    }


def compared(row: Row, variant: str, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return a row of the table: seconds for the same amount of work, by whom, and their ratios."""
    pace = {who: median([run["seconds"] / run["amount"] for run in some]) for who, some in runs.items() if some}
    if "floor" in pace:
        pace["floor"] /= row.floor_amount
    amount = runs["ours"][0]["amount"]
    seconds = {who: each * amount for who, each in pace.items()}
    return {
        "row": row.name,
        "variant": variant,
        "seconds": seconds,
        "speed": {who: _speed(row, amount, each) for who, each in seconds.items()},
        "times_floor": seconds["ours"] / seconds["floor"] if "floor" in seconds else None,
        "times_peer": seconds["peer"] / seconds["ours"] if "peer" in seconds else None,
        "runs": runs,
    }


def median(values: Sequence[float]) -> float:
    """Return the middle value."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def table(rows: Sequence[Row], found: Sequence[dict[str, Any]]) -> str:
    """Return the comparison as Markdown."""
    by_name = {row.name: row for row in rows}
    lines = [
        "| stage | pixels | floor | quadrat | Raster Vision | time ÷ floor | aim | × Raster Vision | aim |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        row = by_name[one["row"]]
        spent = one["times_floor"] if row.floor else (one["seconds"]["ours"] if row.most else None)
        aim = "–" if row.most is None else f"≤ {row.most:.2f}" if row.floor else f"≤ {row.most:g} s"
        told = [_told(row, one, who) for who in ("floor", "ours", "peer")]
        shown = (
            "–" if spent is None else _judged(f"{spent:.2f}" + ("" if row.floor else " s"), spent <= (row.most or 0))
        )
        gain = one["times_peer"]
        gained = "–" if gain is None else _judged(f"{gain:.1f}", gain >= row.least)
        least = f"≥ {row.least:g}" if row.peer else "–"
        lines.append(f"| {row.title} | {one['variant']} | {' | '.join(told)} | {shown} | {aim} | {gained} | {least} |")
    return "\n".join(lines) + "\n"


def memory_table(found: Sequence[dict[str, Any]]) -> str:
    """Return the rises of memory as Markdown."""
    lines = ["| stage | scenes × height × width, px | rise, MiB |", "|---|---|---:|"]
    for one in found:
        rise = " → ".join("–" if each is None else f"{each:.0f}" for each in one["rise"])
        lines.append(f"| {one['row']} | {' → '.join(one['ground'])} | {rise} |")
    return "\n".join(lines) + "\n"


def page(path: Path, content: dict[str, Any], rows: Sequence[Row]) -> None:
    """Put the tables into a page, between the lines BEGIN and END, and say what they hold for."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    about = content["machine"]
    libraries = ", ".join(f"{name} {about[name]}" for name in ("gdal", *LIBRARIES))
    told = (
        f"{about['date']}: {about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB of memory, "
        f"{about['system']}, Python {about['python']}, {libraries}. "
        f"{content['scenes']} scenes of {content['side']}² px; medians of {content['repeats']}. "
        f"Other processes took {content['others']:.2f} cores meanwhile."
    )
    parts = ["", "", told, "", table(rows, content["rows"]), memory_table(content.get("memory", [])), END]
    path.write_text(before + BEGIN + "\n".join(parts) + rest.partition(END)[2], encoding="utf-8")


def write(path: Path, content: dict[str, Any]) -> None:
    """Write all figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def draw(path: Path, rows: Sequence[Row], found: Sequence[dict[str, Any]]) -> None:
    """Draw how many times as fast as Raster Vision each row is, and how fast the floor would be.

    Without Raster Vision, what share of the floor's speed each row has.
    """
    from matplotlib.figure import Figure

    key, against = ("peer", "Raster Vision") if any(one["times_peer"] for one in found) else ("floor", "the floor")
    titles = {row.name: row.title for row in rows}
    some = [one for one in found if key in one["seconds"]][::-1]
    figure = Figure((8, 1 + 0.42 * len(some)), layout="constrained")
    axes = figure.subplots()
    place, labels = range(len(some)), [f"{titles[one['row']]} ({one['variant']})" for one in some]
    gains = [_gain(one, key, "ours") for one in some]
    axes.barh(place, [_gain(one, key, "floor") for one in some], 0.8, color="#dddddd", label="what the hardware allows")
    bars = axes.barh(place, gains, 0.5, color="#1f6f3a", label="quadrat")
    axes.bar_label(bars, [f" {gain:.2g} ×" if gain < 10 else f" {gain:.0f} ×" for gain in gains])
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(place, labels)
    axes.set_xscale("log")
    axes.set_xlabel(f"times as fast as {against}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside upper right", ncols=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _gain(one: dict[str, Any], against: str, who: str) -> float:
    """Return how many times as fast one is as another, on the same amount of work; 0 where it was not measured."""
    return one["speed"][who] / one["speed"][against] if who in one["speed"] else 0.0


def _speed(row: Row, amount: float, seconds: float) -> float:
    return amount / seconds / (1e6 if row.unit == "Mpix/s" else 1)


def _told(row: Row, one: dict[str, Any], who: str) -> str:
    if who not in one["speed"]:
        return "–"
    return f"{one['seconds'][who]:.2f} s" if row.unit == "1/s" else f"{_figure(one['speed'][who])} {row.unit}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _judged(text: str, reached: bool) -> str:  # noqa: FBT001 (what else would it be)
    return text if reached else f"**{text}**"
