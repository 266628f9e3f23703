"""``python -m benchmarks --device cuda``: rows, those first that say most, until the time is spent; table and JSON."""

import argparse
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import report
from benchmarks.ground import Ground, make

BEGIN, END = "<!-- device -->", "<!-- /device -->"

SECONDS = 230.0
"""After so many, no row is begun: a rented device may be had for minutes."""

console = Console(stderr=True)


@dataclass(frozen=True)
class Row:
    """A kind of work; ``least`` is the share of the floor's pace that is aimed at."""

    title: str
    unit: str
    least: float | None
    measure: Callable[[], dict[str, Any]]


def run(asked: argparse.Namespace) -> None:
    """Measure what there is time for, and write it after each row."""
    from quadrat.models.common.devices import described, device

    if device().type != asked.device:
        raise SystemExit(f"--device {asked.device}: torch runs networks on {device().type} here")
    rows = [*_rows(asked)]
    about = report.machine() | {"device": described(), **_versions()}
    content: dict[str, Any] = {"machine": about, "rows": []}
    started = time.monotonic()
    for row in rows:
        left = asked.seconds - (time.monotonic() - started)
        found: dict[str, Any] = {"row": row.title, "unit": row.unit, "least": row.least}
        if left > 0:
            try:
                found |= row.measure()
            except Exception as error:  # noqa: BLE001 (a row that fails must not cost the others)
                found["failed"] = f"{type(error).__name__}: {error}"[:500]
                console.print(f"{row.title}: {found['failed']}", style="red", markup=False)
            gc.collect()
        content["rows"].append(found)
        content["seconds"] = round(time.monotonic() - started)
        console.print(f"{content['seconds']} s: {shown([found]).splitlines()[-1]}", markup=False, soft_wrap=True)
        report.write(asked.out, content)
        if asked.page:
            page(asked.page, content)
    print(shown(content["rows"]))  # noqa: T201 (what was asked for)


def _rows(asked: argparse.Namespace) -> Iterator[Row]:
    """Give the rows, those first that say most; what is compiled takes longest."""
    from benchmarks import device_work as work
    from benchmarks.device_answers import answers

    sizes = work.Sizes(32, 2, 1, 4, ("fp32",)) if asked.quick else work.Sizes()
    side, scenes = (64, 2) if asked.quick else (asked.size, asked.scenes)
    folder = asked.work.resolve() / "device"
    ground = make(Ground(folder / f"{side}-{scenes}", "u16x4", side, side, scenes, 5))
    encoders = ("resnet10t",) if asked.quick else ("resnet18", "resnet50")
    yield Row("ResNet-50, 224 px", "images/s", None, partial(work.anchor, sizes, compiled=False))
    for compiled in (False,) if asked.quick else (False, True):
        for encoder in encoders:
            setting = work.Setting(ground, sizes, encoder, compiled)
            name = f"U-Net {encoder}{', compiled' if compiled else ''}"
            for stride, plan in ((sizes.chip, "stride = window"), (sizes.chip // 2, "blended by half")):
                measure = partial(work.predict, setting, stride, folder / "predictions")
                yield Row(f"predict, {name}, {plan}", "Mpix/s", 0.85, measure)
            for batch in (2,) if asked.quick else (64, 16, 256):
                least = 0.8 if batch == 16 else 0.9
                yield Row(f"train, {name}, batches of {batch}", "chips/s", least, partial(work.train, setting, batch))
            if (compiled, encoder) == (False, encoders[0]):
                yield Row(name, "", None, partial(answers, setting))
    if not asked.quick:
        yield Row("ResNet-50, 224 px, compiled", "images/s", None, partial(work.anchor, sizes, compiled=True))


def shown(found: Sequence[dict[str, Any]]) -> str:
    """Return the rows as Markdown: a table, and below it what others tell."""
    told = [f"- {one['row']}: {line}\n" for one in found for line in one.get("told", ())]
    measured = [one for one in found if "told" not in one]
    return "\n".join([table(measured)] * bool(measured) + ["".join(told)] * bool(told))


def table(found: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table; a ratio that misses its aim is bold."""
    lines = [
        "| work | in memory | quadrat | quadrat ÷ in memory | aim | idle | peak, GiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        floor, ours, least = one.get("floor"), one.get("ours"), one["least"]
        aim = "–" if least is None else f"≥ {least:.2f}"
        share = None if floor is None or ours is None else ours / floor
        judged = "–" if share is None else f"{share:.2f}" if share >= (least or 0) else f"**{share:.2f}**"
        idle = "–" if one.get("idle") is None else f"{100 * one['idle']:.0f} %"
        peak = "–" if one.get("peak") is None else f"{one['peak']:.1f}"
        paces = [_pace(value, one["unit"]) for value in (floor, ours)]
        if floor is None:
            paces[0] = "failed" if "failed" in one else "not measured"
        lines.append(f"| {one['row']} | {' | '.join(paces)} | {judged} | {aim} | {idle} | {peak} |")
    return "\n".join(lines) + "\n"


def page(path: Path, content: dict[str, Any]) -> None:
    """Put the table into a page, between the lines BEGIN and END, and say what it holds for."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    if not begin:
        raise ValueError(f"{path} has no line {BEGIN}")
    about = content["machine"]
    versions = ", ".join(f"{name} {about[name]}" for name in ("quadrat", "torch", "torchvision", *_versions()))
    told = f"{about['date']}: {about['device']}; {about['processor']}, {about['cores']} cores; {versions}."
    after = rest.partition(END)[2]
    path.write_text("\n".join([before + BEGIN, "", told, "", shown(content["rows"]), END]) + after, encoding="utf-8")


def _versions() -> dict[str, str]:
    import torch

    return {"CUDA": torch.version.cuda or "–", "cuDNN": str(torch.backends.cudnn.version() or "–")}  # type: ignore[no-untyped-call] # its stubs lack it


def _pace(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
